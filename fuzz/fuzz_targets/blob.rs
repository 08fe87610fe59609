//! The target `blob` of `recoup_testkit::parsers`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    recoup_testkit::parsers::try_input("blob", input);
});
