//! Settings from anywhere are taken or refused with `bad_configuration`, and no message shows a
//! secret.
#![no_main]

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use stigmer_core::{ErrorCode, ToolError};
use stigmer_engine::configuration::variables::Key;
use stigmer_engine::{Configuration, Sources, Surroundings};

#[derive(Arbitrary, Debug)]
struct Input {
    environment: Vec<(u8, Vec<u8>)>,
    /// Lines of the file, each a setting's.
    lines: Vec<(u8, String)>,
    /// Anything else in the file.
    text: String,
}

/// What every secret begins with; random bytes do not hold it.
const MARK: &str = "s3cr3t-b1d";

thread_local! {
    static HOME: tempfile::TempDir = tempfile::tempdir().unwrap();
}

fn key(number: u8) -> Key {
    Key::ALL[usize::from(number) % Key::ALL.len()]
}

fn check(error: &ToolError) {
    assert_eq!(error.code, ErrorCode::BadConfiguration, "{error:?}");
    assert!(!format!("{error:?}").contains(MARK), "{error:?}");
}

fuzz_target!(|input: Input| {
    if format!("{input:?}").contains(MARK) {
        return;
    }
    HOME.with(|home| {
        let mut file = String::new();
        for (number, value) in input.lines.iter().take(8) {
            let key = key(*number);
            let mark = if key.is_secret() { MARK } else { "" };
            // Most are quoted as TOML wants; the others are as they come.
            let value = if number % 8 == 0 {
                format!("\"{mark}{value}")
            } else {
                format!("{:?}", format!("{mark}{value}"))
            };
            file.push_str(&format!("{} = {value}\n", key.setting().name));
        }
        file.push_str(&input.text);
        let path = home.path().join(".stigmer/config.toml");
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, file).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();

        let environment = input.environment.iter().filter(|(number, _)| key(*number) != Key::Home);
        let environment = environment.map(|(number, value)| {
            let key = key(*number);
            let mark = if key.is_secret() { MARK } else { "" };
            let value = [mark.as_bytes(), value].concat();
            (key.setting().variable.into(), OsString::from_vec(value))
        });
        let surroundings =
            Surroundings { environment: environment.collect(), home: Some(home.path().to_owned()) };
        match Configuration::load(&Sources { surroundings, ..Sources::default() }) {
            Ok(configuration) => {
                assert!(!format!("{configuration:?}").contains(MARK));
                if let Err(error) = configuration.target() {
                    check(&error);
                }
            }
            Err(error) => check(&error),
        }
    });
});
