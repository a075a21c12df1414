//! Images: references, the store, archives, layers.
