//! The names of images.

/// The registry that an image's name names; nothing if it is of Docker's own.
pub(crate) fn registry(image: &str) -> Option<&str> {
    let (first, _) = image.split_once('/')?;
    let is_host = first.contains(['.', ':']) || first == "localhost";
    (is_host && !matches!(first, "docker.io" | "index.docker.io")).then_some(first)
}

/// The name without its tag or digest, and these; without them it is `latest`.
pub(crate) fn split(image: &str) -> (&str, &str) {
    if let Some((name, digest)) = image.split_once('@') {
        return (name, digest);
    }
    let last = image.rfind('/').map_or(0, |slash| slash + 1);
    match image[last..].rfind(':') {
        Some(colon) => (&image[..last + colon], &image[last + colon + 1..]),
        None => (image, "latest"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registries_are_told_from_first_names() {
        for (image, wanted) in [
            ("debian", None),
            ("team/image:1", None),
            ("docker.io/library/debian", None),
            ("ghcr.io/stigmer/x:latest", Some("ghcr.io")),
            ("localhost/x", Some("localhost")),
            ("127.0.0.1:5000/x:1", Some("127.0.0.1:5000")),
        ] {
            assert_eq!(registry(image), wanted, "{image}");
        }
    }

    #[test]
    fn a_port_is_no_tag() {
        for (image, wanted) in [
            ("debian", ("debian", "latest")),
            ("debian:12", ("debian", "12")),
            ("127.0.0.1:5000/x", ("127.0.0.1:5000/x", "latest")),
            ("127.0.0.1:5000/x:1", ("127.0.0.1:5000/x", "1")),
            ("x@sha256:0123", ("x", "sha256:0123")),
            ("x:1@sha256:0123", ("x:1", "sha256:0123")),
        ] {
            assert_eq!(split(image), wanted, "{image}");
        }
    }
}
