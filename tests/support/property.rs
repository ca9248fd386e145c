//! What the property tests have in common. A case that failed is kept in a `.regressions` file beside its test: commit it, so that it is
//! tried first from then on.

use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

/// So many cases, after those that failed before.
pub fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        // The default looks for a lib.rs above the test, and there is none.
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        ..ProptestConfig::default()
    }
}

/// Any text at all: what breaks formats, above all, and what is long.
pub fn hostile() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[\\\\\"\n\r\t {},=#a-z\u{e9}\u{1f600}\u{0}\u{2028}]{0,24}",
        2 => any::<String>(),
        1 => Just(String::new()),
        1 => "[\"\\\\\n]{3400}[^a]{1700}",
    ]
}
