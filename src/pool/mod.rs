//! [`Pool`], its builder, the tower stack inside it, and drop-in names for bb8's types.

mod builder;
mod builder_hooks;
mod builder_settings;
pub mod drop_in;
mod handle;
mod lifecycle;
mod pooled_connection;
mod runtime_watch;
mod source;
mod stack;

pub use self::builder::PoolBuilder;
pub use self::handle::Pool;
pub use self::pooled_connection::PooledConnection;
pub use self::stack::Stack;
