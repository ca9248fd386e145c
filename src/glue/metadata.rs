//! Names and tags of integrations, from the pages of `DescribeIntegrations`. It lists only the integrations that the account of the
//! credentials created.

use super::api::{Glue, MetadataRequest, RequestContext};
use super::error::GlueError;
use super::listing::{Cursor, invalid};
use crate::arn::canonical_arn;
use crate::snapshot::Description;
use std::collections::{BTreeMap, BTreeSet};

/// Selects the integrations and tags that are kept. All others are dropped, because tags can be private.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetadataFilter {
    /// Canonical ARNs.
    pub arns: BTreeSet<String>,
    /// Tag keys, case-sensitive.
    pub tags: BTreeSet<String>,
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
}

async fn follow(
    glue: &dyn Glue,
    filter: &MetadataFilter,
    page_size: Option<u16>,
    context: RequestContext<'_>,
    found: &mut BTreeMap<String, Description>,
) -> Result<(), GlueError> {
    let mut cursor = Cursor::default();
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
        for (arn, described) in page.described {
            let arn = canonical_arn(&arn);
            if filter.arns.contains(arn.as_ref()) {
                found.insert(arn.into_owned(), described);
            }
        }
        if found.len() == filter.arns.len() {
            return Ok(());
        }
        match page.marker {
            Some(marker) => cursor.advance(marker)?,
            None if without_arn > 0 => {
                return Err(invalid(format!(
                    "AWS described {without_arn} integrations without a valid ARN"
                )));
            }
            None => return Ok(()),
        }
    }
}
