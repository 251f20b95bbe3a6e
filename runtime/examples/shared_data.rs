//! Data that is not worth a verticle: maps, counters and locks, by name, for all instances on all loops.
#![allow(clippy::print_stdout, reason = "an example talks to a person")]

use std::time::Duration;

use vertebra::{
    Address, BoxError, Context, Counter, Deploy, Failure, Handler, LocalMap, Lock, LockError, MapFull, Runtime,
    SharedData, SharedDataError, Verticle,
};

/// Asks for a seat, and gives whose it is.
const BOOK: Address<(u32, &'static str), &'static str> = Address::new("theatre.book");

struct BoxOffice {
    seats: LocalMap<u32, &'static str>,
    sold: Counter,
}

impl BoxOffice {
    fn new(shared: &SharedData) -> Result<Self, SharedDataError> {
        // Every instance has the same map and the same counter.
        Ok(Self { seats: shared.local_map("seats")?, sold: shared.counter("sold")? })
    }
}

impl Verticle for BoxOffice {
    async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        ctx.serve(BOOK).register()?;
        // One of them opens the house.
        if ctx.shared_data().counter("opened by")?.compare_and_set(0, ctx.instance() as i64 + 1) {
            println!("instance {} of {} opens the house", ctx.instance(), ctx.instances());
        }
        Ok(())
    }
}

impl Handler<(u32, &'static str)> for BoxOffice {
    type Reply = &'static str;

    async fn handle(&self, (seat, who): (u32, &'static str), _: &Context<Self>) -> Result<&'static str, Failure> {
        match self.seats.insert_if_absent(seat, who) {
            Ok(None) => {
                self.sold.add(1);
                Ok(who)
            }
            Ok(Some(earlier)) => Ok(earlier),
            Err(MapFull(seat, _)) => Err(Failure::new(507, format!("no room to note seat {seat}"))),
        }
    }
}

fn main() -> Result<(), BoxError> {
    let rt = Runtime::builder().event_loops(2).build()?;
    let shared = rt.shared_data();
    let data = shared.clone();
    rt.block_on(async {
        // Asked for with other types it is not to be had, and nothing is deployed.
        BoxOffice::new(&shared)?;
        assert!(matches!(shared.local_map::<u32, String>("seats"), Err(SharedDataError::WrongType { .. })));
        let factory = move || match BoxOffice::new(&data) {
            Ok(office) => office,
            Err(error) => panic!("{error}"),
        };
        rt.deploy(Deploy::new(factory).instances(4)).await?;
        let book = |seat, who| rt.bus().request(BOOK, (seat, who));
        let booked = tokio::join!(book(1, "ada"), book(2, "bob"), book(3, "cyd"), book(4, "dee"));
        assert_eq!(booked, (Ok("ada"), Ok("bob"), Ok("cyd"), Ok("dee")));
        assert_eq!(book(2, "eve").await?, "bob");

        // Whoever counts the seats locks the door: what is done in here takes more than one step.
        let door: Lock = shared.lock("door").await?;
        let other = shared.lock("door").timeout(Duration::from_millis(5)).await;
        assert!(matches!(other, Err(LockError::Timeout { .. })));
        let seats = shared.local_map::<u32, &'static str>("seats")?;
        let mut names = seats.values();
        names.sort_unstable();
        assert_eq!((names, shared.counter("sold")?.get()), (vec!["ada", "bob", "cyd", "dee"], 4));
        door.release();
        shared.lock("door").await?.release();

        assert_eq!((seats.remove(&3), seats.get(&3)), (Some("cyd"), None));
        rt.shutdown(Duration::from_secs(5)).await;
        Ok(())
    })
}
