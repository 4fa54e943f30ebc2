//! Which of several places that set a value has the say. A pure function.

use std::fmt;

use serde::Serialize;

/// A kind of place that can set a value, the strongest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Layer {
    /// A flag on the command line.
    Flag,
    /// The caller's own environment.
    Environment,
    /// The workspace's setting.
    Workspace,
    /// The environment that the running daemon was started with.
    Daemon,
    /// The configuration file.
    File,
    /// The table of settings.
    Default,
}

impl Layer {
    /// All layers, the strongest first.
    pub const ALL: [Self; 6] =
        [Self::Flag, Self::Environment, Self::Workspace, Self::Daemon, Self::File, Self::Default];

    /// The name for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Flag => "flag",
            Self::Environment => "environment",
            Self::Workspace => "workspace",
            Self::Daemon => "daemon",
            Self::File => "file",
            Self::Default => "default",
        }
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// What each layer says of one setting; `None` is a layer that says nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layers<T> {
    values: [Option<T>; Layer::ALL.len()],
}

impl<T> Default for Layers<T> {
    fn default() -> Self {
        Self { values: [const { None }; Layer::ALL.len()] }
    }
}

impl<T> Layers<T> {
    /// Notes what a layer says.
    pub fn set(&mut self, layer: Layer, value: T) {
        self.values[layer as usize] = Some(value);
    }

    /// The value of the strongest layer that says something, and which layer that is.
    pub fn choose(self) -> Option<(Layer, T)> {
        Layer::ALL
            .into_iter()
            .zip(self.values)
            .find_map(|(layer, value)| value.map(|value| (layer, value)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The order as the design writes it, and chosen the other way round: every layer from the
    /// weakest on overwrites what was there before.
    fn by_overwriting(said: &[(Layer, u8)]) -> Option<(Layer, u8)> {
        let weakest_first = [
            Layer::Default,
            Layer::File,
            Layer::Daemon,
            Layer::Workspace,
            Layer::Environment,
            Layer::Flag,
        ];
        let mut result = None;
        for layer in weakest_first {
            for (said_by, value) in said {
                if *said_by == layer {
                    result = Some((layer, *value));
                }
            }
        }
        result
    }

    proptest! {
        #[test]
        fn the_strongest_layer_wins(
            values in proptest::collection::vec(proptest::option::of(any::<u8>()), 6)
        ) {
            let said: Vec<(Layer, u8)> = Layer::ALL
                .into_iter()
                .zip(values)
                .filter_map(|(layer, value)| value.map(|value| (layer, value)))
                .collect();
            let mut layers = Layers::default();
            // In reverse, so that the order of the calls is seen to be without effect.
            for (layer, value) in said.iter().rev() {
                layers.set(*layer, *value);
            }
            prop_assert_eq!(layers.choose(), by_overwriting(&said));
        }
    }

    #[test]
    fn all_sixty_four_subsets_agree() {
        for subset in 0_u8..64 {
            let said: Vec<(Layer, u8)> = Layer::ALL
                .into_iter()
                .filter(|layer| subset & (1 << *layer as u8) != 0)
                .map(|layer| (layer, layer as u8))
                .collect();
            let mut layers = Layers::default();
            for (layer, value) in &said {
                layers.set(*layer, *value);
            }
            assert_eq!(layers.choose(), by_overwriting(&said), "{said:?}");
        }
    }
}
