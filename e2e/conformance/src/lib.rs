//! What a Kubernetes API server answers, compared letter by letter between the real one and another.
//!
//! A case is a script of requests (`cases/*.yaml`). The real API server's answers, in a form that does not depend on
//! the run, are kept in `recorded/*.jsonl`; nobody writes expectations by hand. Another server passes when its answers
//! in that form are the same:
//!
//! ```no_run
//! # async fn f(client: kube::Client) -> Result<(), rerail_conformance::Error> {
//! for difference in rerail_conformance::check(&client).await? {
//!     println!("{difference}");
//! }
//! # Ok(())
//! # }
//! ```
//!
//! | module | what |
//! |---|---|
//! | `case` | reads scripts |
//! | `examples` | the files of `examples/` as cases |
//! | `transport` | how requests reach a server |
//! | `play` | plays a script and takes down the answers |
//! | `normal` | replaces what differs from run to run |
//! | `record` | keeps answers in files, compares them |
//! | `real` | the real API server |
//! | `kubectl` | commands of kubectl whose requests are to be covered |
//! | `tuples` | what is asked in the e2e suite, and what of it cases cover |

mod case;
mod error;
mod examples;
mod files;
mod kubectl;
mod normal;
mod play;
mod real;
mod record;
mod transport;
mod tuples;

pub use case::{Act, Case, PatchType, Step, cases, parse};
pub use error::Error;
pub use kubectl::run_kubectl;
pub use play::{Played, check, play};
pub use real::Real;
pub use record::{Difference, Record, compare, recorded, write};
pub use transport::{BodyStream, Transport};
pub use tuples::{
    LEFT_OUT, Seen, Tuple, Who, add_audit, covered, left_out, seen, seen_file, seen_in, uncovered,
    write_seen,
};
