//! Shared support of the property tests. A failed case is stored in a `.regressions` file beside the test. Commit that file, so that the
//! case runs first from then on.

use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

/// Returns a configuration with this number of cases, after those that failed before.
pub fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        // The default needs a lib.rs in a parent directory of the test.
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        ..ProptestConfig::default()
    }
}

/// Any text, mostly text that breaks formats, and long text.
pub fn hostile() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[\\\\\"\n\r\t {},=#a-z\u{e9}\u{1f600}\u{0}\u{2028}]{0,24}",
        2 => any::<String>(),
        1 => Just(String::new()),
        1 => "[\"\\\\\n]{3400}[^a]{1700}",
    ]
}
