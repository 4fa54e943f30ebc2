//! Whether a container has the image that is asked for.

use stigmer_core::Result;

use crate::engine::Found;
use crate::manager::DockerManager;
use crate::names::ASKED;
use crate::options::DockerOptions;
use crate::record::Record;

/// Whether a container of an image, made when one was asked for, is what is asked for now. Whoever
/// names an image has that one; whoever names none keeps what was made for who named none, whichever
/// of the two images that was.
pub(crate) fn is_asked_for(options: &DockerOptions, image: &str, asked: &str) -> bool {
    let names_none = options.local_image.is_some() || options.instead_of.is_some();
    image == options.image || names_none && asked == options.asked()
}

impl DockerManager {
    /// Whether a container has the image that is asked for, by that name or by another. The engine is
    /// asked only where names do not tell.
    pub(crate) async fn has_image(&self, found: &Found, known: Option<&Record>) -> Result<bool> {
        let asked = found.labels.get(ASKED).map(String::as_str).unwrap_or_default();
        let fits = |image: &str, asked: &str| is_asked_for(&self.options, image, asked);
        if fits(&found.image, asked) || known.is_some_and(|known| fits(&known.image, &known.asked))
        {
            return Ok(true);
        }
        Ok(self.engine.image(&self.options.image).await?.is_some_and(|id| id == found.image_id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::tests::plain;

    #[test]
    fn whoever_names_an_image_has_that_one_and_whoever_names_none_keeps_what_is_there() {
        let (usual, local) = ("usual".to_owned(), "local".to_owned());
        let named = |image: &str| DockerOptions { image: image.to_owned(), ..plain() };
        let none = DockerOptions { local_image: Some(local.clone()), ..named("usual") };
        let in_its_stead = DockerOptions { instead_of: Some(usual), ..named(&local) };
        for (image, asked, by) in [
            // Asked for are: the usual one by name, the local one by name, none, none while the usual
            // one is not here.
            ("usual", "usual", [true, false, true, true]),
            ("local", "usual", [false, true, true, true]),
            ("local", "local", [false, true, false, true]),
            ("other", "other", [false; 4]),
        ] {
            let all = [named("usual"), named("local"), none.clone(), in_its_stead.clone()];
            assert_eq!(all.map(|one| is_asked_for(&one, image, asked)), by, "{image} for {asked}");
        }
    }
}
