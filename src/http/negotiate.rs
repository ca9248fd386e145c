//! Chooses the representation of a page by `Accept` and `Accept-Encoding` (RFC 9110, sections 12.5.1 and 12.5.3).

use crate::exposition::text_format::Format;
use hyper::header::{ACCEPT, ACCEPT_ENCODING, HeaderMap, HeaderName};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Representation {
    pub format: Format,
    pub gzip: bool,
}

impl Representation {
    /// A client that accepts no available format gets text instead of 406, as from Prometheus' own exporters: it helps a person who debugs.
    pub fn from_headers(headers: &HeaderMap) -> Self {
        Self {
            format: format(headers),
            gzip: gzip(headers),
        }
    }
}

fn format(headers: &HeaderMap) -> Format {
    let quality = |media_type: &str, range: &str, version: &str| {
        // The most specific matching range decides.
        items(headers, &ACCEPT)
            .filter_map(|item| {
                let specificity = if item.value.eq_ignore_ascii_case(media_type) {
                    match item.parameter("version") {
                        Some(wanted) if wanted == version => 3,
                        Some(_) => return None,
                        None => 2,
                    }
                } else if item.value.eq_ignore_ascii_case(range) {
                    1
                } else if item.value == "*/*" {
                    0
                } else {
                    return None;
                };
                Some((specificity, item.quality()))
            })
            .max_by_key(|(specificity, _)| *specificity)
            .map_or(0.0, |(_, quality)| quality)
    };
    let open_metrics = quality("application/openmetrics-text", "application/*", "1.0.0");
    // Without a preference the format is text, because the client may be a person with curl.
    if open_metrics > quality("text/plain", "text/*", "0.0.4") {
        Format::OpenMetrics
    } else {
        Format::Text
    }
}

fn gzip(headers: &HeaderMap) -> bool {
    let quality = |coding: &str| {
        items(headers, &ACCEPT_ENCODING)
            .find(|item| item.value.eq_ignore_ascii_case(coding))
            .map(|item| item.quality())
    };
    let gzip = quality("gzip").or(quality("x-gzip")).or(quality("*"));
    // Identity is acceptable unless excluded, but any coding that the client names is preferred.
    let identity = quality("identity").unwrap_or(0.001);
    gzip.is_some_and(|gzip| gzip > 0.0 && gzip >= identity)
}

struct Item<'a> {
    value: &'a str,
    parameters: &'a str,
}

fn items<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = Item<'a>> {
    headers
        .get_all(name)
        .into_iter()
        // A value that is not text matches no representation.
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|item| {
            let (value, parameters) = item.split_once(';').unwrap_or((item, ""));
            let value = value.trim();
            Item { value, parameters }
        })
}

impl<'a> Item<'a> {
    fn parameter(&self, name: &str) -> Option<&'a str> {
        self.parameters.split(';').find_map(|parameter| {
            let (key, value) = parameter.split_once('=')?;
            let is_named = key.trim().eq_ignore_ascii_case(name);
            is_named.then(|| value.trim().trim_matches('"'))
        })
    }

    fn quality(&self) -> f32 {
        self.parameter("q").map_or(1.0, |text| {
            let quality = text.parse().ok();
            quality.filter(|it| (0.0..=1.0).contains(it)).unwrap_or(0.0)
        })
    }
}
