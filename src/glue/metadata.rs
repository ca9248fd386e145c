//! Names and tags: what `DescribeIntegrations` says, page by page. It lists what the account of the credentials has created, so that an
//! integration which another account created is not in it.

use super::{Cursor, Glue, GlueError, Reason, RequestContext, canonical_arn};
use crate::snapshot::Description;
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;

/// In bytes: the names of 100,000 integrations with some tags each take half of it. It bounds what an answer without an end can take.
pub const MAX_METADATA_BYTES: usize = 64 << 20;

/// What is wanted of the answer. The rest of it is kept nowhere: a tag can be private.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// In the one spelling.
    pub arns: BTreeSet<String>,
    /// Keys of tags, as AWS spells them.
    pub tags: BTreeSet<String>,
}

/// One request for one page.
#[derive(Clone, Copy)]
pub struct MetadataRequest<'a> {
    pub tags: &'a BTreeSet<String>,
    /// `Marker` of the page before, none for the first.
    pub marker: Option<&'a str>,
    /// `MaxRecords`; AWS decides if absent.
    pub page_size: Option<u16>,
    /// The request answers or fails within its share.
    pub context: RequestContext<'a>,
}

/// One page of an answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MetadataPage {
    /// By the ARN as AWS spells it.
    pub described: Vec<(String, Description)>,
    /// Items that had no ARN, or none that can be one.
    pub without_arn: usize,
    /// Where the next page begins; none on the last page.
    pub marker: Option<String>,
}

/// What a request will have brought.
pub type NamesFuture<'a> =
    Pin<Box<dyn Future<Output = Result<MetadataPage, GlueError>> + Send + 'a>>;

/// What was found of what is wanted, by the one spelling of the ARN.
#[derive(Clone, Debug)]
pub struct Names {
    pub found: BTreeMap<String, Description>,
    /// Why there may be more.
    pub outcome: Result<(), GlueError>,
}

impl Names {
    /// Follows the pages until all that is wanted has been found, to the end, or to the first failure. At least one page is asked for: it
    /// shows whether that is allowed.
    pub async fn ask(
        glue: &dyn Glue,
        wanted: &Wanted,
        page_size: Option<u16>,
        context: RequestContext<'_>,
    ) -> Self {
        let mut found = BTreeMap::new();
        let outcome = follow(glue, wanted, page_size, context, &mut found).await;
        Self { found, outcome }
    }

    /// The answer that brought nothing.
    pub fn failed(error: GlueError) -> Self {
        Self {
            found: BTreeMap::new(),
            outcome: Err(error),
        }
    }
}

async fn follow(
    glue: &dyn Glue,
    wanted: &Wanted,
    page_size: Option<u16>,
    context: RequestContext<'_>,
    found: &mut BTreeMap<String, Description>,
) -> Result<(), GlueError> {
    let mut cursor = Cursor::default();
    let mut approx_bytes = 0;
    let mut without_arn = 0;
    loop {
        let request = MetadataRequest {
            tags: &wanted.tags,
            marker: cursor.next.as_deref(),
            page_size,
            context,
        };
        let page = glue.names(request).await?;
        without_arn += page.without_arn;
        approx_bytes += page.marker.as_ref().map_or(0, String::len);
        for (arn, described) in page.described {
            let arn = canonical_arn(&arn);
            if !wanted.arns.contains(arn.as_ref()) {
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
                format!(
                    "the listing of names was given up: it takes more than {MAX_METADATA_BYTES} bytes"
                ),
            ));
        }
        if found.len() == wanted.arns.len() {
            return Ok(());
        }
        match page.marker {
            Some(marker) => cursor.advance(marker)?,
            None if without_arn > 0 => {
                return Err(GlueError::new(
                    Reason::InvalidResponse,
                    format!("AWS named {without_arn} integrations without an ARN"),
                ));
            }
            None => return Ok(()),
        }
    }
}
