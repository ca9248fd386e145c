//! Names and tags of integrations, from the pages of `DescribeIntegrations`.

use super::api::{Glue, RequestContext};
use super::error::GlueError;
use super::listing::Cursor;
use crate::arn::canonical_arn;
use crate::snapshot::Description;
use std::collections::{BTreeMap, BTreeSet};

/// Everything else is dropped, because tags can be private.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetadataFilter {
    /// Canonical ARNs.
    pub arns: BTreeSet<String>,
    /// Tag keys, case-sensitive.
    pub tags: BTreeSet<String>,
}

#[derive(Clone, Debug)]
pub struct Metadata {
    /// By canonical ARN.
    pub found: BTreeMap<String, Description>,
    pub outcome: Result<(), GlueError>,
}

impl Metadata {
    /// Requests at least one page, to check that the credentials allow it.
    pub async fn fetch(
        glue: &dyn Glue,
        filter: &MetadataFilter,
        page_size: Option<u16>,
        context: RequestContext<'_>,
    ) -> Self {
        let mut found = BTreeMap::new();
        let outcome = async {
            let mut cursor = Cursor::default();
            loop {
                let request = cursor.request(page_size, context);
                let page = glue.metadata_page(&filter.tags, request).await?;
                let has_next = cursor.advance(&page);
                for (arn, described) in page.items {
                    let arn = canonical_arn(&arn);
                    if filter.arns.contains(arn.as_ref()) {
                        found.insert(arn.into_owned(), described);
                    }
                }
                if found.len() == filter.arns.len() || !has_next? {
                    return Ok(());
                }
            }
        }
        .await;
        Self { found, outcome }
    }
}
