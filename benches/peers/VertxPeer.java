import io.vertx.core.AbstractVerticle;
import io.vertx.core.DeploymentOptions;
import io.vertx.core.Future;
import io.vertx.core.Handler;
import io.vertx.core.Promise;
import io.vertx.core.Vertx;
import io.vertx.core.VertxOptions;
import io.vertx.core.eventbus.EventBus;
import io.vertx.core.eventbus.Message;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.lang.management.ManagementFactory;
import java.util.concurrent.CompletableFuture;

/**
 * The work of the other peers, on a real Vert.x: the table's program starts it, writes one line for each run, and reads one.
 *
 * <p>In: {@code WORK LOOPS WINDOW OPERATIONS}, for example {@code request 2 256 100000}. Out: wall and CPU time in
 * nanoseconds. It ends with its input.
 */
public final class VertxPeer {
  /** Messages sent before the sender looks how far the consumer is, and how many such batches it may be ahead. */
  private static final int BATCH = 512;
  private static final int BATCHES_AHEAD = 2;
  private static final int CONSUMERS = 64;
  /** A string is handed over as it is: the bus copies no immutable body. */
  private static final String BODY = "x".repeat(200);

  public static void main(String[] arguments) throws Exception {
    Vertx vertx = Vertx.vertx(new VertxOptions().setEventLoopPoolSize(2));
    Driver driver = new Driver();
    // Two verticles, two event loops: the first does the measuring.
    get(vertx.deployVerticle(driver));
    get(vertx.deployVerticle(new There()));
    com.sun.management.OperatingSystemMXBean system =
        (com.sun.management.OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();
    BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
    for (String line = in.readLine(); line != null; line = in.readLine()) {
      String[] words = line.split(" ");
      long cpu = system.getProcessCpuTime();
      long wall = System.nanoTime();
      get(driver.run(words[0], words[1], Integer.parseInt(words[2]), Long.parseLong(words[3])));
      wall = System.nanoTime() - wall;
      System.out.println(wall + " " + (system.getProcessCpuTime() - cpu));
    }
    get(vertx.close());
  }

  private static <T> T get(Future<T> future) throws Exception {
    return future.toCompletionStage().toCompletableFuture().get();
  }

  /** Answers with one character of the body. */
  private static Handler<Message<String>> echo() {
    return message -> {
      long seen = message.body().charAt(11);
      if (message.replyAddress() != null) {
        message.reply(seen);
      }
    };
  }

  private static final class There extends AbstractVerticle {
    @Override
    public void start() {
      vertx.eventBus().localConsumer("echo.2", echo());
    }
  }

  private static final class Driver extends AbstractVerticle {
    private EventBus bus;
    /** Messages of publications handled; they are handled on this verticle's event loop. */
    private long ticks;
    private long looked;

    @Override
    public void start() {
      bus = vertx.eventBus();
      bus.localConsumer("echo.1", echo());
      for (int consumer = 0; consumer < CONSUMERS; consumer++) {
        bus.<String>localConsumer("tick", message -> {
          looked += message.body().charAt(11);
          ticks++;
        });
      }
    }

    Future<Void> run(String work, String loops, int window, long operations) {
      Promise<Void> done = Promise.promise();
      String address = "echo." + loops;
      context.runOnContext(start -> {
        switch (work) {
          case "send" -> new Sender(address, operations, done).pump();
          case "request" -> new Asker(address, operations, done).ask(window);
          case "publish" -> publish(operations, ticks + operations, done);
          default -> done.fail("no such work: " + work);
        }
      });
      return done.future();
    }

    /** An operation is a delivery. */
    private void publish(long left, long until, Promise<Void> done) {
      for (int delivered = 0; delivered < BATCH && left > 0; delivered += CONSUMERS) {
        bus.publish("tick", BODY);
        left -= CONSUMERS;
      }
      await(left, until, done);
    }

    private void await(long left, long until, Promise<Void> done) {
      if (ticks < until - Math.max(left, 0)) {
        context.runOnContext(turn -> await(left, until, done));
      } else if (left > 0) {
        publish(left, until, done);
      } else {
        done.complete();
      }
    }

    /** Sends as fast as the consumer allows: the last message of each batch is a request, whose reply says where it is. */
    private final class Sender {
      private final String address;
      private final Promise<Void> done;
      private long left;
      private int ahead;

      Sender(String address, long operations, Promise<Void> done) {
        this.address = address;
        this.left = operations;
        this.done = done;
      }

      void pump() {
        while (left > 0 && ahead < BATCHES_AHEAD) {
          long batch = Math.min(left, BATCH);
          for (long sent = 1; sent < batch; sent++) {
            bus.send(address, BODY);
          }
          left -= batch;
          ahead++;
          bus.<Long>request(address, BODY).onComplete(reply -> {
            ahead--;
            if (reply.failed()) {
              done.tryFail(reply.cause());
            } else if (left == 0 && ahead == 0) {
              done.complete();
            } else {
              pump();
            }
          });
        }
      }
    }

    /** Keeps so many requests open. */
    private final class Asker {
      private final String address;
      private final Promise<Void> done;
      private long left;
      private long open;

      Asker(String address, long operations, Promise<Void> done) {
        this.address = address;
        this.left = operations;
        this.done = done;
      }

      void ask(int window) {
        for (int opened = 0; opened < window && left > 0; opened++) {
          ask();
        }
      }

      private void ask() {
        left--;
        open++;
        bus.<Long>request(address, BODY).onComplete(reply -> {
          open--;
          if (reply.failed()) {
            done.tryFail(reply.cause());
            return;
          }
          looked += reply.result().body();
          if (left > 0) {
            ask();
          } else if (open == 0) {
            done.tryComplete();
          }
        });
      }
    }
  }
}
