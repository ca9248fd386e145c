//! Negotiation of the exposition format and the content encoding.
use glue_integration_exporter::exposition::text_format::Format::{self, OpenMetrics, Text};
use glue_integration_exporter::http::negotiate::Representation;
use hyper::header::{ACCEPT, ACCEPT_ENCODING, HeaderMap, HeaderValue};
use proptest::prelude::*;

fn negotiate(headers: &[(hyper::header::HeaderName, &str)]) -> Representation {
    let headers: HeaderMap = headers
        .iter()
        .map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap()))
        .collect();
    Representation::from_headers(&headers)
}

#[test]
fn format_follows_accept_header() {
    let table: &[(&str, Format)] = &[
        ("", Text),
        ("*/*", Text),
        ("text/plain", Text),
        ("text/*", Text),
        (
            "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
            Text,
        ),
        ("application/json", Text),
        ("application/openmetrics-text", OpenMetrics),
        ("APPLICATION/OpenMetrics-Text ; Version=1.0.0", OpenMetrics),
        (
            "application/openmetrics-text; version=\"1.0.0\"",
            OpenMetrics,
        ),
        ("application/*", OpenMetrics),
        ("application/openmetrics-text;q=0,*/*", Text),
        ("application/openmetrics-text;q=0.4,text/plain;q=0.4", Text),
        (
            "application/openmetrics-text;q=0.401,text/plain;q=0.4",
            OpenMetrics,
        ),
        (
            "application/openmetrics-text;version=2.0.0,text/plain;q=0.1",
            Text,
        ),
        ("application/openmetrics-text;version=0.0.1", Text),
        (
            "text/plain;version=1.0.0,application/openmetrics-text;q=0.1",
            OpenMetrics,
        ),
        // The headers of Prometheus 2 and 3.
        (
            "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
             text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            OpenMetrics,
        ),
        (
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
             application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
             text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
            OpenMetrics,
        ),
        // Prometheus configured for the text format only.
        ("text/plain;version=0.0.4;q=0.6,*/*;q=0.5", Text),
        // Invalid headers.
        (";;;,,,q=1;", Text),
        ("application/openmetrics-text;q=2", Text),
        ("application/openmetrics-text;q=0.1234", OpenMetrics),
        ("application/openmetrics-text;q=-1", Text),
    ];
    for (accept, format) in table {
        assert_eq!(negotiate(&[(ACCEPT, accept)]).format, *format, "{accept}");
    }
    assert_eq!(negotiate(&[]).format, Text);
}

#[test]
fn gzip_follows_accept_encoding_header() {
    let table: &[(&str, bool)] = &[
        ("", false),
        ("gzip", true),
        ("GZip", true),
        ("x-gzip", true),
        ("gzip, deflate, br", true),
        ("deflate, br", false),
        ("*", true),
        ("*;q=0", false),
        ("gzip;q=0", false),
        ("gzip;q=0, *", false),
        ("gzip; q=0.000", false),
        ("gzip;q=0.5, identity", false),
        ("gzip;q=0.5, identity;q=0.4", true),
        ("identity", false),
        ("identity;q=0, gzip;q=0.1", true),
        ("gzip;q=nonsense", false),
    ];
    for (accept, gzip) in table {
        assert_eq!(
            negotiate(&[(ACCEPT_ENCODING, accept)]).gzip,
            *gzip,
            "{accept}"
        );
    }
}

proptest! {
    #[test]
    fn arbitrary_headers_do_not_panic(accept in "[ -~]{0,80}", encoding in "[ -~]{0,80}") {
        negotiate(&[(ACCEPT, &accept), (ACCEPT_ENCODING, &encoding)]);
    }
}
