//! What arrives on a supervisor's socket is read or refused, and what is read is written again as
//! the same message.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stigmer_host::supervisor::protocol::{Reply, Request, decode, encode};

macro_rules! check {
    ($kind:ty, $bytes:expr) => {
        if let Ok(Some((message, body, used))) = decode::<$kind>($bytes) {
            assert!(used <= $bytes.len() && body.len() <= used);
            let again = encode(&message, body).unwrap();
            let (same, same_body, all) = decode::<$kind>(&again).unwrap().unwrap();
            assert_eq!(format!("{message:?}"), format!("{same:?}"));
            assert_eq!(body, same_body);
            assert_eq!(all, again.len());
        }
    };
}

fuzz_target!(|bytes: &[u8]| {
    check!(Request, bytes);
    check!(Reply, bytes);
    // Random lengths are seldom right, so the header is also tried for itself.
    let mut framed = u32::try_from(bytes.len()).unwrap().to_le_bytes().to_vec();
    framed.extend([0; 4]);
    framed.extend(bytes);
    check!(Request, &framed);
    check!(Reply, &framed);
});
