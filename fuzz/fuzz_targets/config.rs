#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| rerail_fuzz_bodies::config(input));
