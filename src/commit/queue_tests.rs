use super::*;

/// A minimal worker. Multiplies its input by ten, and records it in `done`.
fn serve(queue: &Queue<usize, usize>, done: &Mutex<Vec<usize>>, budget: Load) {
    while let Some(mut batch) = queue.take_batch(budget) {
        batch.extend(queue.take_more(budget));
        queue.wait_for_solo();
        lock(done).extend(batch.iter().map(|queued| queued.work));
        let load = batch.iter().fold(Load::default(), |load, queued| load.saturating_add(queued.load));
        queue.finish_batch(batch.len(), load);
        for queued in batch {
            queued.reply.send(queued.work * 10);
        }
    }
    queue.lose_worker();
}

const ONE: Load = Load { files: 1, bytes: 10 };
const MUCH: Load = Load { files: 100, bytes: 1000 };

/// Loom explores the interleavings of these threads: `scripts/check-model`.
#[cfg(ringbolt_model)]
mod model {
    use loom::future::block_on;
    use loom::sync::atomic::{AtomicUsize, Ordering};
    use loom::thread;

    use super::*;

    struct Model {
        queue: Handle<usize, usize>,
        done: Arc<Mutex<Vec<usize>>>,
        /// Callers on the solo path.
        solo: Arc<AtomicUsize>,
    }

    impl Model {
        fn new(limit: Load) -> Model {
            Model { queue: Queue::new(limit), done: Arc::default(), solo: Arc::default() }
        }

        fn worker(&self) -> thread::JoinHandle<()> {
            let (queue, done) = (Arc::clone(&self.queue), Arc::clone(&self.done));
            thread::spawn(move || serve(&queue, &done, MUCH))
        }

        /// A caller with several pieces of work, one after another, on the solo path if it can.
        fn caller(&self, work: Vec<usize>) -> impl FnOnce() + 'static {
            let Model { queue, done, solo } =
                Model { queue: Arc::clone(&self.queue), done: Arc::clone(&self.done), solo: Arc::clone(&self.solo) };
            move || {
                for n in work {
                    let guard = queue.try_solo();
                    if guard.is_some() {
                        assert_eq!(solo.fetch_add(1, Ordering::AcqRel), 0, "two solo callers");
                        lock(&done).push(n);
                        solo.fetch_sub(1, Ordering::AcqRel);
                    } else {
                        assert_eq!(block_on(Submission::new(&queue, n, ONE)), Some(n * 10));
                    }
                }
            }
        }

        /// Checks that everything was done once, and the work of each caller in its order: its numbers rise.
        fn check(&self, expected: &[usize]) {
            let done = lock(&self.done).clone();
            let mut sorted = done.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, expected);
            for caller in 0..9 {
                assert!(done.iter().filter(|n| *n / 10 == caller).is_sorted(), "{done:?}");
            }
            let state = self.queue.lock();
            assert!(!state.busy && !state.solo && state.admitted.is_empty() && state.line.is_empty());
            assert_eq!(state.load, Load::default());
        }
    }

    fn check_model(bound: Option<usize>, test: impl Fn() + Sync + Send + 'static) {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = bound;
        model.check(test);
    }

    /// No wake-up and no result is lost, nothing is done twice, and the order of each caller is kept, with room for all and
    /// with room for one.
    #[test]
    fn callers_and_the_worker() {
        for limit in [MUCH, ONE] {
            // Two preemptions find nearly every bug that more would (Musuvathi and Qadeer, PLDI 2007), in bounded time.
            check_model(Some(2), move || {
                let model = Model::new(limit);
                let worker = model.worker();
                let other = thread::spawn(model.caller(vec![11, 12]));
                model.caller(vec![21])();
                other.join().unwrap();
                model.queue.close();
                worker.join().unwrap();
                model.check(&[11, 12, 21]);
            });
        }
    }

    /// Closing drains the queue, including the work of a caller that is gone. Later work is refused, and no caller waits for
    /// ever.
    #[test]
    fn closing_drains() {
        check_model(Some(3), || {
            let model = Model::new(MUCH);
            let worker = model.worker();
            let queue = Arc::clone(&model.queue);
            let other = thread::spawn(move || {
                block_on(Submission::new(&queue, 21, ONE)).inspect(|result| assert_eq!(*result, 210)).is_some()
            });
            let mut gone = Submission::new(&model.queue, 11, ONE);
            block_on(std::future::poll_fn(|context| {
                let _ = Pin::new(&mut gone).poll(context);
                Poll::Ready(())
            }));
            drop(gone);
            model.queue.close();
            worker.join().unwrap();
            let answered = other.join().unwrap();
            model.check(if answered { &[11, 21] } else { &[11] });
        });
    }

    /// A caller that leaves the line frees its room and leaves no gap.
    #[test]
    fn leaving_the_line() {
        check_model(Some(2), || {
            let model = Model::new(ONE);
            let worker = model.worker();
            let queue = Arc::clone(&model.queue);
            let other = thread::spawn(move || {
                let mut gone = Submission::new(&queue, 21, ONE);
                block_on(std::future::poll_fn(|context| {
                    let _ = Pin::new(&mut gone).poll(context);
                    Poll::Ready(())
                }));
            });
            assert_eq!(block_on(Submission::new(&model.queue, 11, ONE)), Some(110));
            assert_eq!(block_on(Submission::new(&model.queue, 12, ONE)), Some(120));
            other.join().unwrap();
            model.queue.close();
            worker.join().unwrap();
            let done = lock(&model.done).contains(&21);
            model.check(if done { &[11, 12, 21] } else { &[11, 12] });
        });
    }

    /// A worker that is lost during a batch fails every caller.
    #[test]
    fn a_lost_worker_fails_every_caller() {
        check_model(Some(3), || {
            let model = Model::new(ONE);
            let queue = Arc::clone(&model.queue);
            let worker = thread::spawn(move || {
                drop(queue.take_batch(MUCH));
                queue.lose_worker();
            });
            let queue = Arc::clone(&model.queue);
            let other = thread::spawn(move || assert_eq!(block_on(Submission::new(&queue, 21, ONE)), None));
            assert_eq!(block_on(Submission::new(&model.queue, 11, ONE)), None);
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

    /// Polls once. Returns the result if it is ready.
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

    /// Work beyond the limit waits in line, in order. Work larger than the limit is admitted when the queue is empty.
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
        while let Some(batch) = Some(queue.take_more(MUCH)).filter(|batch| !batch.is_empty()) {
            order.push(batch.iter().map(|queued| queued.work).collect::<Vec<_>>());
            let load = batch.iter().fold(Load::default(), |load, queued| load.saturating_add(queued.load));
            queue.finish_batch(batch.len(), load);
            batch.into_iter().for_each(|queued| queued.reply.send(queued.work));
        }
        assert_eq!(order, [vec![0, 1], vec![2, 3], vec![4], vec![5]]);
        assert!(all.iter_mut().enumerate().all(|(n, submission)| poll(submission) == Some(Some(n))));
        assert_eq!(queue.depth(), (Load::default(), 0));
    }

    /// Work is not done if its future is dropped in line, and is done if it is dropped when admitted.
    #[test]
    fn a_dropped_future() {
        let queue = Queue::new(ONE);
        let mut in_queue = Submission::new(&queue, 1, ONE);
        let mut in_line = Submission::new(&queue, 2, ONE);
        let never_polled = Submission::new(&queue, 3, ONE);
        assert!(poll(&mut in_queue).is_none() && poll(&mut in_line).is_none());
        drop((in_queue, in_line, never_polled));
        assert_eq!(queue.depth(), (ONE, 0));
        let batch = queue.take_more(MUCH);
        assert_eq!(batch.iter().map(|queued| queued.work).collect::<Vec<_>>(), [1]);
        queue.finish_batch(1, ONE);
        batch.into_iter().for_each(|queued| queued.reply.send(0));
        assert_eq!(queue.depth(), (Load::default(), 0));
    }

    #[test]
    fn gathering_ends_with_enough_work_or_in_time_or_with_the_queue() {
        let queue = Queue::new(MUCH);
        let submit = |n| {
            let mut submission = Submission::new(&queue, n, ONE);
            assert!(poll(&mut submission).is_none());
            submission
        };
        let gathered =
            |wanted, patience| queue.gather(wanted, MUCH, patience).iter().map(|queued| queued.work).collect();
        let (ever, never) = (Duration::from_secs(3600), Duration::ZERO);
        let one = submit(1);
        let none: Vec<usize> = Vec::new();
        assert_eq!((gathered(2, never), gathered(1, never)), (vec![1], none.clone()));
        let some = thread::scope(|scope| {
            let waiting = scope.spawn(|| gathered(2, ever));
            let some = [submit(2), submit(3)];
            assert_eq!(waiting.join().unwrap(), [2, 3]);
            some
        });
        thread::scope(|scope| {
            let waiting = scope.spawn(|| gathered(1, ever));
            queue.close();
            assert_eq!(waiting.join().unwrap(), none);
        });
        drop((one, some));
    }

    /// The solo path is open if the queue is idle and the last batch was not larger than one.
    #[test]
    fn when_the_solo_path_is_open() {
        let queue = Queue::<usize, usize>::new(MUCH);
        let guard = queue.try_solo();
        assert!(guard.is_some() && queue.try_solo().is_none());
        drop(guard);
        let mut submission = Submission::new(&queue, 1, ONE);
        assert!(poll(&mut submission).is_none());
        assert!(queue.try_solo().is_none(), "work is admitted");
        let batch = queue.take_batch(MUCH).unwrap();
        assert!(queue.try_solo().is_none(), "the worker is busy");
        queue.finish_batch(2, ONE);
        assert!(queue.try_solo().is_none(), "the last batch was larger than one");
        queue.finish_batch(1, Load::default());
        assert!(queue.try_solo().is_some());
        drop(batch);
        assert_eq!(poll(&mut submission), Some(None), "dropped without a result");
        queue.close();
        assert!(queue.try_solo().is_none());
        assert_eq!(poll(&mut Submission::new(&queue, 1, ONE)), Some(None));
        assert!(queue.take_batch(MUCH).is_none());
    }
}
