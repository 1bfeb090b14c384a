use super::*;

/// Under loom the interleavings of these threads are tried: `scripts/check-model`.
#[cfg(loom)]
mod model {
    use super::*;

    /// Nobody waits for ever, each gets its own result, no work is done twice, and at the end nobody leads.
    fn callers(count: usize, batch_max: usize) {
        let queue = Arc::new(Queue::new(batch_max));
        let done = Arc::new(Mutex::new(Vec::new()));
        let join = |caller: usize| {
            let (queue, done) = (Arc::clone(&queue), Arc::clone(&done));
            move || {
                let result = queue.join(caller, |batch| {
                    assert!(batch.len() <= batch_max);
                    lock(&done).extend(batch.iter().copied());
                    batch.iter().map(|caller| caller * 10).collect()
                });
                assert_eq!(result, Some(caller * 10));
            }
        };
        let threads: Vec<_> = (1..count).map(|caller| loom::thread::spawn(join(caller))).collect();
        join(count)();
        for thread in threads {
            thread.join().unwrap();
        }
        let mut done = std::mem::take(&mut *lock(&done));
        done.sort_unstable();
        assert_eq!(done, (1..=count).collect::<Vec<_>>());
        assert!(!lock(&queue.state).led && lock(&queue.state).waiting.is_empty());
    }

    #[test]
    fn every_interleaving_of_two_callers() {
        for batch_max in [1, 2] {
            loom::model(move || callers(2, batch_max));
        }
    }

    /// Two preemptions find nearly every fault that more would (Musuvathi and Qadeer, PLDI 2007), in a bounded time.
    #[test]
    fn three_callers_with_two_preemptions() {
        for batch_max in [1, 2] {
            let mut model = loom::model::Builder::new();
            model.preemption_bound = Some(2);
            model.check(move || callers(3, batch_max));
        }
    }
}

#[cfg(not(loom))]
mod threads {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Barrier;
    use std::thread;

    use super::*;

    #[test]
    fn many_callers_each_get_their_own_result() {
        let queue = Queue::new(5);
        let batches = Mutex::new(0);
        thread::scope(|scope| {
            for caller in 0..16 {
                let (queue, batches) = (&queue, &batches);
                scope.spawn(move || {
                    for i in 0..200 {
                        let result = queue.join((caller, i), |batch| {
                            assert!((1..=5).contains(&batch.len()));
                            *lock(batches) += 1;
                            batch
                        });
                        assert_eq!(result, Some((caller, i)));
                    }
                });
            }
        });
        assert!((16 * 200 / 5..=16 * 200).contains(&*lock(&batches)));
        assert!(!lock(&queue.state).led);
    }

    /// What queues up while a leader works is one batch, in the order in which it came.
    #[test]
    fn what_waits_is_one_batch_in_order() {
        let queue = Queue::new(100);
        let (working, go_on) = (Barrier::new(2), Barrier::new(2));
        let seen = Mutex::new(Vec::new());
        thread::scope(|scope| {
            scope.spawn(|| {
                queue.join(0, |batch| {
                    working.wait();
                    go_on.wait();
                    batch
                })
            });
            working.wait();
            for caller in 1..=10 {
                let (queue, seen) = (&queue, &seen);
                scope.spawn(move || {
                    queue.join(caller, |batch| {
                        lock(seen).push(batch.clone());
                        batch
                    })
                });
                // One after the other into the queue, so that their order is known.
                while lock(&queue.state).waiting.len() < caller {
                    thread::yield_now();
                }
            }
            go_on.wait();
        });
        assert_eq!(*lock(&seen), [(1..=10).collect::<Vec<_>>()]);
    }

    /// A leader that panics takes its batch with it, and nobody else.
    #[test]
    fn a_panic_is_told_to_every_waiter_and_the_queue_goes_on() {
        let queue = Queue::new(2);
        let (working, go_on) = (Barrier::new(2), Barrier::new(2));
        thread::scope(|scope| {
            scope.spawn(|| {
                queue.join(0, |batch| {
                    working.wait();
                    go_on.wait();
                    batch
                })
            });
            working.wait();
            let callers: Vec<_> = (1..=3)
                .map(|caller| {
                    let queue = &queue;
                    let join =
                        move || queue.join(caller, |batch| if batch == [1, 2] { panic!("on purpose") } else { batch });
                    let thread = scope.spawn(move || catch_unwind(AssertUnwindSafe(join)));
                    while lock(&queue.state).waiting.len() < caller {
                        thread::yield_now();
                    }
                    thread
                })
                .collect();
            go_on.wait();
            let results: Vec<_> = callers.into_iter().map(|thread| thread.join().unwrap().ok()).collect();
            assert_eq!(results, [None, Some(None), Some(Some(3))]);
        });
        assert_eq!(queue.join(4, |batch| batch), Some(4));
    }
}
