//! What `docs/protocol.md` says of errors is what the code does.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use stigmer_api::convert::errors::{grpc_code, http_status};
use stigmer_core::ErrorCode;

/// `NotFound` as `NOT_FOUND`.
fn upper_snake(name: &str) -> String {
    let mut upper = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !upper.is_empty() {
            upper.push('_');
        }
        upper.push(letter.to_ascii_uppercase());
    }
    upper
}

#[test]
fn the_table_of_errors_is_the_one_of_the_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/protocol.md");
    let page = std::fs::read_to_string(path).unwrap();
    let lines = page.lines().skip_while(|line| !line.starts_with("| code |")).skip(2);
    let rows: Vec<Vec<String>> = lines
        .take_while(|line| line.starts_with('|'))
        .map(|line| {
            let cells = line.trim_matches('|').split('|');
            cells.map(|cell| cell.trim().trim_matches('`').to_owned()).collect()
        })
        .collect();
    assert_eq!(rows.len(), ErrorCode::ALL.len());
    for (row, code) in rows.iter().zip(ErrorCode::ALL) {
        let retry = if code.retryable() { "yes" } else { "no" };
        let wanted = [
            code.name().to_owned(),
            http_status(*code).as_u16().to_string(),
            upper_snake(&format!("{:?}", grpc_code(*code))),
            code.exit_code().to_string(),
            retry.to_owned(),
        ];
        assert!(!row[1].is_empty(), "{code}");
        assert_eq!([&row[0], &row[2], &row[3], &row[4], &row[5]], wanted.each_ref());
    }
}
