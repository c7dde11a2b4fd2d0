import { assert, describe, it, type Vitest } from "@effect/vitest"
import { connectionTopic, flowTopic, Signals, type Topic } from "@valetkey/domain/Signals"
import { Deferred, Effect, Fiber, type Layer, Queue } from "effect"
import * as Fixture from "./internal/contractFixtures.ts"

/** Runs the contract of `Signals` on a layer. */
export const suite = <R>(
  name: string,
  layer: Layer.Layer<Signals | R, unknown>,
  _options?: Fixture.ContractOptions<R>
): void => {
  describe(`Signals (${name})`, () => it.layer(layer, { timeout: "60 seconds" })((it) => cases(it)))
}

/** The cases of the contract, for a suite that shares its layer with others. */
export const cases = (it: Vitest.MethodsNonLive<Signals>): void => {
  it.effect("wakes every subscriber of the topic", () =>
    Effect.gen(function*() {
      const signals = yield* Signals
      const topic = flowTopic(Fixture.newFlowId())
      const waits = yield* Effect.forEach(Array.from({ length: 50 }), () => signals.subscribe(topic))
      const fibers = yield* Effect.forEach(waits, (wait) => Effect.forkChild(wait))
      yield* signals.notify(topic)
      yield* Effect.forEach(fibers, Fiber.join)
    }))

  it.effect("keeps a signal that comes between subscribing and waiting", () =>
    Effect.gen(function*() {
      const signals = yield* Signals
      const topic = connectionTopic(Fixture.newKey())
      const wait = yield* signals.subscribe(topic)
      yield* signals.notify(topic)
      yield* wait
      yield* wait
    }))

  it.effect("does not wake the subscribers of another topic", () =>
    Effect.gen(function*() {
      const signals = yield* Signals
      const [topic, other] = [flowTopic(Fixture.newFlowId()), flowTopic(Fixture.newFlowId())]
      const fiber = yield* Effect.forkChild(yield* signals.subscribe(topic))
      const wait = yield* signals.subscribe(other)
      yield* signals.notify(other)
      yield* wait
      assert.isUndefined(fiber.pollUnsafe())
      yield* signals.notify(topic)
      yield* Fiber.join(fiber)
    }))

  it.effect("gives every signal to every listener, in order", () =>
    Effect.gen(function*() {
      const signals = yield* Signals
      const topics = Array.from({ length: 20 }, () => flowTopic(Fixture.newFlowId()))
      const heard = yield* Effect.forEach([1, 2], () =>
        Effect.gen(function*() {
          const queue = yield* Queue.unbounded<Topic>()
          yield* signals.listen((topic) => topics.includes(topic) ? Queue.offer(queue, topic) : Effect.void)
          return queue
        }))
      yield* Effect.forEach(topics, (topic) => signals.notify(topic))
      for (const queue of heard) {
        assert.deepStrictEqual(yield* Effect.forEach(topics, () => Queue.take(queue)), topics)
      }
    }))

  it.effect("gives every signal to every observer before the notifier goes on, until its scope closes", () =>
    Effect.gen(function*() {
      const signals = yield* Signals
      const topic = flowTopic(Fixture.newFlowId())
      const heard: Array<string> = []
      const observe = (name: string) => signals.observe((one) => void (one === topic && heard.push(name)))
      yield* observe("one")
      yield* Effect.scoped(Effect.andThen(observe("two"), signals.notify(topic)))
      assert.includeMembers(heard.splice(0), ["one", "two"])
      yield* signals.notify(topic)
      assert.include(heard, "one")
      assert.notInclude(heard, "two")
    }))

  it.effect("wakes the subscribers and observers of this process alone when it is asked to", () =>
    Effect.gen(function*() {
      const signals = yield* Signals
      const topic = flowTopic(Fixture.newFlowId())
      let heard = 0
      yield* signals.observe((one) => void (one === topic && heard++))
      const wait = yield* signals.subscribe(topic)
      yield* signals.wake(topic)
      yield* wait
      assert.strictEqual(heard, 1)
    }))

  it.effect("never waits for a listener that is stuck, nor for one that died", () =>
    Effect.gen(function*() {
      const signals = yield* Signals
      const topic = flowTopic(Fixture.newFlowId())
      const entered = yield* Deferred.make<void>()
      yield* signals.listen((heard) =>
        heard === topic ? Effect.andThen(Deferred.succeed(entered, undefined), Effect.never) : Effect.void
      )
      yield* signals.listen((heard) => heard === topic ? Effect.die("listener died") : Effect.void)
      yield* signals.notify(topic)
      yield* Deferred.await(entered)
      const wait = yield* signals.subscribe(topic)
      yield* signals.notify(topic)
      yield* wait
    }))

  it.effect("I18 forgets subscribers and listeners when their scope closes", () =>
    Effect.gen(function*() {
      const signals = yield* Signals
      const topic = flowTopic(Fixture.newFlowId())
      let heard = 0
      yield* Effect.scoped(Effect.gen(function*() {
        yield* Effect.asVoid(signals.subscribe(topic))
        yield* signals.listen((one) => Effect.sync(() => void (one === topic && heard++)))
      }))
      const alive = yield* Deferred.make<void>()
      yield* signals.listen((one) => one === topic ? Deferred.succeed(alive, undefined) : Effect.void)
      yield* signals.notify(topic)
      yield* Deferred.await(alive)
      assert.strictEqual(heard, 0)
    }))

  it.effect("takes a signal that nobody waits for", () =>
    Effect.flatMap(Signals, (signals) => signals.notify(flowTopic(Fixture.newFlowId()))))
}
