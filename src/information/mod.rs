//! Information: entropies, mutual informations and their relatives, in nats.
