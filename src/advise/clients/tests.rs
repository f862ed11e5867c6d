use super::*;

/// A connection comes back in a second.
fn curve() -> Curve {
    Curve::straight(1.0, 3)
}

#[test]
fn two_clients_of_one_connection_are_the_textbooks() {
    let two = Clients {
        number: 2,
        thinks: 1.0,
    };
    // The weights are 1, 2 and 2: nobody is there for a fifth of the time, and one arrives to find the
    // other there for half of the times.
    let served = two.served(1, 1.0, &curve());
    assert!((served.rate - 0.8).abs() < 1e-12);
    assert!((served.queueing() - 0.5).abs() < 1e-12);
    assert!((served.mean() - 0.5).abs() < 1e-12);
    assert!((served.exceeding(2.0) - 0.5 * (-2.0_f64).exp()).abs() < 1e-12);
    assert!((served.quantile(0.95) - 10.0_f64.ln()).abs() < 1e-9);
    // As many connections as clients: nobody queues, and each has a turn in two seconds.
    let served = two.served(2, 1.0, &curve());
    assert_eq!((served.queueing(), served.quantile(0.99)), (0.0, 0.0));
    assert!((served.rate - 1.0).abs() < 1e-12);
    // One and a half is between one, who never queues, and two.
    let served = two.served(1, 0.75, &curve());
    assert!((served.queueing() - 0.25).abs() < 1e-12);
    let served = two.served(1, 0.0, &curve());
    assert_eq!((served.rate, served.mean()), (0.0, 0.0));
}

#[test]
fn who_has_to_wait_for_many_has_a_wait_of_many_holds() {
    let many = Clients {
        number: 101,
        thinks: 1e-9,
    };
    // Always a hundred before: 100 holds of a second, and by the law of large numbers not much more.
    let served = many.served(1, 1.0, &curve());
    assert!((served.mean() - 100.0).abs() < 1e-3);
    assert!((served.quantile(0.5) - 100.0).abs() < 1.0);
    assert!((110.0..125.0).contains(&served.quantile(0.95)));
    let times = served.queueing();
    assert!((times - 1.0).abs() < 1e-6 && (served.rate - 1.0).abs() < 1e-6);
}
