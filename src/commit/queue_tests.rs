use super::*;

/// The smallest worker: does what it is given, and writes down what that was.
fn serve(queue: &Queue<usize, usize>, done: &Mutex<Vec<usize>>, most: Load) {
    while let Some(mut entries) = queue.wait(most) {
        entries.extend(queue.more(most));
        queue.wait_for_alone();
        lock(done).extend(entries.iter().map(|entry| entry.work));
        let load = entries.iter().fold(Load::default(), |load, entry| load.plus(entry.load));
        queue.over(entries.len(), load);
        for entry in entries {
            entry.answer.tell(entry.work * 10);
        }
    }
    queue.lose();
}

const ONE: Load = Load { files: 1, bytes: 10 };
const MUCH: Load = Load { files: 100, bytes: 1000 };

/// Under loom the interleavings of these threads are tried: `scripts/check-model`.
#[cfg(ringbolt_model)]
mod model {
    use loom::future::block_on;
    use loom::sync::atomic::{AtomicUsize, Ordering};
    use loom::thread;

    use super::*;

    struct House {
        queue: Handle<usize, usize>,
        done: Arc<Mutex<Vec<usize>>>,
        /// Who is at work alone.
        alone: Arc<AtomicUsize>,
    }

    impl House {
        fn new(limit: Load) -> House {
            House { queue: Queue::new(limit), done: Arc::default(), alone: Arc::default() }
        }

        fn worker(&self) -> thread::JoinHandle<()> {
            let (queue, done) = (Arc::clone(&self.queue), Arc::clone(&self.done));
            thread::spawn(move || serve(&queue, &done, MUCH))
        }

        /// A caller with several pieces of work, one after the other, alone where it may.
        fn caller(&self, work: Vec<usize>) -> impl FnOnce() + 'static {
            let House { queue, done, alone } =
                House { queue: Arc::clone(&self.queue), done: Arc::clone(&self.done), alone: Arc::clone(&self.alone) };
            move || {
                for n in work {
                    let right = queue.alone();
                    if right.is_some() {
                        assert_eq!(alone.fetch_add(1, Ordering::AcqRel), 0, "two alone");
                        lock(&done).push(n);
                        alone.fetch_sub(1, Ordering::AcqRel);
                    } else {
                        assert_eq!(block_on(Submission::new(&queue, n, ONE)), Some(n * 10));
                    }
                }
            }
        }

        /// Everything was done once; and of each caller in its order: its numbers rise.
        fn check(&self, expected: &[usize]) {
            let done = lock(&self.done).clone();
            let mut sorted = done.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, expected);
            for caller in 0..9 {
                assert!(done.iter().filter(|n| *n / 10 == caller).is_sorted(), "{done:?}");
            }
            let state = self.queue.lock();
            assert!(!state.busy && !state.alone && state.waiting.is_empty() && state.line.is_empty());
            assert_eq!(state.held, Load::default());
        }
    }

    fn model(bound: Option<usize>, test: impl Fn() + Sync + Send + 'static) {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = bound;
        model.check(test);
    }

    /// No wake-up is lost, no result is lost, nothing is done twice, and the order of each caller is kept: with room for all,
    /// and with room for one.
    #[test]
    fn callers_and_the_worker() {
        for limit in [MUCH, ONE] {
            // Two preemptions find nearly every fault that more would (Musuvathi and Qadeer, PLDI 2007), in a bounded time.
            model(Some(2), move || {
                let house = House::new(limit);
                let worker = house.worker();
                let other = thread::spawn(house.caller(vec![11, 12]));
                house.caller(vec![21])();
                other.join().unwrap();
                house.queue.close();
                worker.join().unwrap();
                house.check(&[11, 12, 21]);
            });
        }
    }

    /// Closing does what is queued, also for a caller that has gone away; what comes later is refused, and nobody waits for
    /// ever.
    #[test]
    fn closing_drains() {
        model(Some(3), || {
            let house = House::new(MUCH);
            let worker = house.worker();
            let queue = Arc::clone(&house.queue);
            let other = thread::spawn(move || {
                block_on(Submission::new(&queue, 21, ONE)).inspect(|result| assert_eq!(*result, 210)).is_some()
            });
            let mut gone = Submission::new(&house.queue, 11, ONE);
            block_on(std::future::poll_fn(|context| {
                let _ = Pin::new(&mut gone).poll(context);
                Poll::Ready(())
            }));
            drop(gone);
            house.queue.close();
            worker.join().unwrap();
            let answered = other.join().unwrap();
            house.check(if answered { &[11, 21] } else { &[11] });
        });
    }

    /// Who gives up its place in the line does not leave the room for it taken, nor a gap.
    #[test]
    fn leaving_the_line() {
        model(Some(2), || {
            let house = House::new(ONE);
            let worker = house.worker();
            let queue = Arc::clone(&house.queue);
            let other = thread::spawn(move || {
                let mut gone = Submission::new(&queue, 21, ONE);
                block_on(std::future::poll_fn(|context| {
                    let _ = Pin::new(&mut gone).poll(context);
                    Poll::Ready(())
                }));
            });
            assert_eq!(block_on(Submission::new(&house.queue, 11, ONE)), Some(110));
            assert_eq!(block_on(Submission::new(&house.queue, 12, ONE)), Some(120));
            other.join().unwrap();
            house.queue.close();
            worker.join().unwrap();
            let done = lock(&house.done).contains(&21);
            house.check(if done { &[11, 12, 21] } else { &[11, 12] });
        });
    }

    /// A worker that is lost with work in hand: everybody hears of it.
    #[test]
    fn a_lost_worker_is_told() {
        model(Some(3), || {
            let house = House::new(ONE);
            let queue = Arc::clone(&house.queue);
            let worker = thread::spawn(move || {
                drop(queue.wait(MUCH));
                queue.lose();
            });
            let queue = Arc::clone(&house.queue);
            let other = thread::spawn(move || assert_eq!(block_on(Submission::new(&queue, 21, ONE)), None));
            assert_eq!(block_on(Submission::new(&house.queue, 11, ONE)), None);
            other.join().unwrap();
            worker.join().unwrap();
        });
    }
}

#[cfg(not(ringbolt_model))]
mod threads {
    use std::thread;

    use super::*;
    use crate::commit::block::block_on;

    /// Polls once, and tells whether it has ended.
    fn poll(submission: &mut Submission<usize, usize>) -> Option<Option<usize>> {
        match Pin::new(submission).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(result) => Some(result),
            Poll::Pending => None,
        }
    }

    #[test]
    fn many_callers_each_get_their_own_result() {
        for limit in [ONE, Load { files: 5, bytes: 1000 }, MUCH] {
            let queue = Queue::new(limit);
            let done = Mutex::new(Vec::new());
            thread::scope(|scope| {
                let worker = scope.spawn(|| serve(&queue, &done, Load { files: 7, bytes: 1000 }));
                let callers: Vec<_> = (0..16)
                    .map(|caller| {
                        let queue = &queue;
                        scope.spawn(move || {
                            for i in 0..200 {
                                let n = caller * 1000 + i;
                                assert_eq!(block_on(Submission::new(queue, n, ONE)), Some(n * 10));
                            }
                        })
                    })
                    .collect();
                callers.into_iter().for_each(|caller| caller.join().unwrap());
                queue.close();
                worker.join().unwrap();
            });
            let mut done = done.into_inner().unwrap();
            assert_eq!(done.len(), 16 * 200);
            done.dedup();
            assert_eq!(done.len(), 16 * 200);
            assert_eq!(queue.depth(), (Load::default(), 0));
        }
    }

    /// What is beyond the limit waits in line, in order; what is larger than the limit goes through alone.
    #[test]
    fn the_queue_is_bounded_and_the_line_has_an_order() {
        let limit = Load { files: 2, bytes: 100 };
        let queue = Queue::new(limit);
        let loads = [(1, 10), (1, 80), (1, 30), (1, 1), (1, 500), (1, 1)];
        let mut all: Vec<_> = (0..loads.len())
            .map(|n| Submission::new(&queue, n, Load { files: loads[n].0, bytes: loads[n].1 }))
            .collect();
        assert!(all.iter_mut().all(|submission| poll(submission).is_none()));
        assert_eq!(queue.depth(), (Load { files: 2, bytes: 90 }, 4));
        let mut order = Vec::new();
        while let Some(batch) = Some(queue.more(MUCH)).filter(|batch| !batch.is_empty()) {
            order.push(batch.iter().map(|entry| entry.work).collect::<Vec<_>>());
            let load = batch.iter().fold(Load::default(), |load, entry| load.plus(entry.load));
            queue.over(batch.len(), load);
            batch.into_iter().for_each(|entry| entry.answer.tell(entry.work));
        }
        assert_eq!(order, [vec![0, 1], vec![2, 3], vec![4], vec![5]]);
        assert!(all.iter_mut().enumerate().all(|(n, submission)| poll(submission) == Some(Some(n))));
        assert_eq!(queue.depth(), (Load::default(), 0));
    }

    /// Dropped in line, it is not done; dropped in the queue, it is.
    #[test]
    fn a_dropped_future() {
        let queue = Queue::new(ONE);
        let mut in_queue = Submission::new(&queue, 1, ONE);
        let mut in_line = Submission::new(&queue, 2, ONE);
        let never_polled = Submission::new(&queue, 3, ONE);
        assert!(poll(&mut in_queue).is_none() && poll(&mut in_line).is_none());
        drop((in_queue, in_line, never_polled));
        assert_eq!(queue.depth(), (ONE, 0));
        let batch = queue.more(MUCH);
        assert_eq!(batch.iter().map(|entry| entry.work).collect::<Vec<_>>(), [1]);
        queue.over(1, ONE);
        batch.into_iter().for_each(|entry| entry.answer.tell(0));
        assert_eq!(queue.depth(), (Load::default(), 0));
    }

    /// Alone is who finds nobody, and nobody from a moment ago.
    #[test]
    fn who_may_work_alone() {
        let queue = Queue::<usize, usize>::new(MUCH);
        let alone = queue.alone();
        assert!(alone.is_some() && queue.alone().is_none());
        drop(alone);
        let mut submission = Submission::new(&queue, 1, ONE);
        assert!(poll(&mut submission).is_none());
        assert!(queue.alone().is_none(), "work is waiting");
        let batch = queue.wait(MUCH).unwrap();
        assert!(queue.alone().is_none(), "the worker is busy");
        queue.over(2, ONE);
        assert!(queue.alone().is_none(), "there was a crowd a moment ago");
        queue.over(1, Load::default());
        assert!(queue.alone().is_some());
        drop(batch);
        assert_eq!(poll(&mut submission), Some(None), "dropped without an answer");
        queue.close();
        assert!(queue.alone().is_none());
        assert_eq!(poll(&mut Submission::new(&queue, 1, ONE)), Some(None));
        assert!(queue.wait(MUCH).is_none());
    }
}
