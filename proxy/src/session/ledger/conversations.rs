//! Whole conversations with a [model](super::model) of a server: the ledger never goes out of step.

use super::model::{Ending, Message, check};
use proptest::prelude::*;

fn message() -> impl Strategy<Value = Message> {
    // Errors are rare enough for something to come to pass between them.
    let fails = || prop::bool::weighted(0.15);
    prop_oneof![
        1 => (0..4u8, fails()).prop_map(|(statements, fails)| Message::Query { statements, fails }),
        1 => fails().prop_map(|fails| Message::Function { fails }),
        1 => fails().prop_map(|fails| Message::OurQuery { fails }),
        3 => (any::<bool>(), fails()).prop_map(|(ours, fails)| Message::Parse { ours, fails }),
        3 => fails().prop_map(|fails| Message::Bind { fails }),
        1 => any::<bool>().prop_map(|ours| Message::Close { ours }),
        2 => (any::<bool>(), any::<bool>(), any::<bool>(), fails()).prop_map(
            |(ours, of_statement, rows, fails)| Message::Describe { ours, of_statement, rows, fails }
        ),
        3 => (0..4u8, prop_oneof![
            4 => Just(Ending::Complete), 1 => Just(Ending::Empty), 1 => Just(Ending::Suspended),
            1 => Just(Ending::Error), 1 => Just(Ending::CopyIn),
        ]).prop_map(|(rows, end)| Message::Execute { rows, end }),
        3 => any::<bool>().prop_map(|ours| Message::Sync { ours }),
        2 => Just(Message::Instead),
        1 => Just(Message::Fails),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn a_client_sees_what_it_would_have_seen_alone(
        messages in prop::collection::vec(message(), 1..40),
        sends in prop::collection::vec(any::<bool>(), 1..60),
    ) {
        if let Err(wrong) = check(messages, &sends) {
            prop_assert!(false, "{wrong}");
        }
    }
}
