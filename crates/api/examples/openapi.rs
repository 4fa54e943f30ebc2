//! Prints the OpenAPI document: `make openapi` writes it to `docs/openapi.json`.

use std::io::{self, Write};

fn main() -> io::Result<()> {
    io::stdout().write_all(stigmer_api::openapi::document().as_bytes())
}
