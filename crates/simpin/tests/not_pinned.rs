//! Who comes too late is told so. A target of its own: it spoils its process.

#[test]
fn whoever_used_ahash_before_cannot_be_repeated() {
    let _ = ahash::RandomState::new();
    let result = rerail_simpin::run(1, || async {});
    assert!(matches!(result, Err(rerail_simpin::Error::NotPinned(_))), "{result:?}");
}
