//! Names and tags of integrations, from the pages of `DescribeIntegrations`. It lists only the integrations that the account of the
//! credentials created.

use super::{Cursor, Glue, GlueError, Reason, RequestContext, canonical_arn};
use crate::snapshot::Description;
use std::collections::{BTreeMap, BTreeSet};

/// Bounds the memory of a listing that never ends. Names and some tags of 100,000 integrations take half of it.
pub const MAX_METADATA_BYTES: usize = 64 << 20;

/// Selects the integrations and tags that are kept. All others are dropped, because tags can be private.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetadataFilter {
    /// Canonical ARNs.
    pub arns: BTreeSet<String>,
    /// Tag keys, case-sensitive.
    pub tags: BTreeSet<String>,
}

/// A request for one page of `DescribeIntegrations`.
#[derive(Clone, Copy)]
pub struct MetadataRequest<'a> {
    pub tags: &'a BTreeSet<String>,
    /// `Marker` of the previous page, None for the first page.
    pub marker: Option<&'a str>,
    /// `MaxRecords`. AWS decides if it is None.
    pub page_size: Option<u16>,
    pub context: RequestContext<'a>,
}

/// One page of `DescribeIntegrations`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MetadataPage {
    /// Each description with the ARN as AWS sent it.
    pub described: Vec<(String, Description)>,
    /// Number of items without a valid ARN.
    pub without_arn: usize,
    /// `Marker` of the next page, None on the last page.
    pub marker: Option<String>,
}

/// The names and tags that were found.
#[derive(Clone, Debug)]
pub struct Metadata {
    /// By canonical ARN.
    pub found: BTreeMap<String, Description>,
    /// An error if the listing is incomplete.
    pub outcome: Result<(), GlueError>,
}

impl Metadata {
    /// Requests pages until all ARNs of the filter are found, the listing ends or a request fails. Requests at least one page, to check
    /// that the credentials allow it.
    pub async fn fetch(
        glue: &dyn Glue,
        filter: &MetadataFilter,
        page_size: Option<u16>,
        context: RequestContext<'_>,
    ) -> Self {
        let mut found = BTreeMap::new();
        let outcome = follow(glue, filter, page_size, context, &mut found).await;
        Self { found, outcome }
    }

    /// Creates the result of a fetch that failed without any names.
    pub fn failed(error: GlueError) -> Self {
        Self {
            found: BTreeMap::new(),
            outcome: Err(error),
        }
    }
}

async fn follow(
    glue: &dyn Glue,
    filter: &MetadataFilter,
    page_size: Option<u16>,
    context: RequestContext<'_>,
    found: &mut BTreeMap<String, Description>,
) -> Result<(), GlueError> {
    let mut cursor = Cursor::default();
    let mut approx_bytes = 0;
    let mut without_arn = 0;
    loop {
        let request = MetadataRequest {
            tags: &filter.tags,
            marker: cursor.next.as_deref(),
            page_size,
            context,
        };
        let page = glue.metadata_page(request).await?;
        without_arn += page.without_arn;
        approx_bytes += page.marker.as_ref().map_or(0, String::len);
        for (arn, described) in page.described {
            let arn = canonical_arn(&arn);
            if !filter.arns.contains(arn.as_ref()) {
                continue;
            }
            approx_bytes += described.approx_bytes();
            if let Some(earlier) = found.insert(arn.into_owned(), described) {
                approx_bytes -= earlier.approx_bytes();
            }
        }
        if approx_bytes > MAX_METADATA_BYTES {
            return Err(GlueError::new(
                Reason::InvalidResponse,
                format!("the listing of names and tags takes more than {MAX_METADATA_BYTES} bytes"),
            ));
        }
        if found.len() == filter.arns.len() {
            return Ok(());
        }
        match page.marker {
            Some(marker) => cursor.advance(marker)?,
            None if without_arn > 0 => {
                return Err(GlueError::new(
                    Reason::InvalidResponse,
                    format!("AWS described {without_arn} integrations without a valid ARN"),
                ));
            }
            None => return Ok(()),
        }
    }
}
