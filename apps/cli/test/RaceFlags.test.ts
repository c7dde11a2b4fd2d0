import { assert, describe, it } from "@effect/vitest"
import { Effect, Option } from "effect"
import { isStray, type RaceInput, settingsOf } from "../src/RaceFlags.ts"

const usual: RaceInput = {
  race: true,
  url: [],
  connections: Option.none(),
  callers: Option.none(),
  rounds: Option.none(),
  listen: Option.none(),
  publicUrl: Option.none()
}

describe("the flags of a race", () => {
  it.effect("mean five connections, twenty callers and four rounds at a simulator on this machine by default", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* settingsOf(usual), {
        connections: 5,
        callers: 20,
        rounds: 4,
        stand: { host: "127.0.0.1", port: 0 },
        targets: []
      })
      const elsewhere = {
        ...usual,
        listen: Option.some("0.0.0.0:9099"),
        publicUrl: Option.some("https://sim.example/x")
      }
      assert.deepStrictEqual((yield* settingsOf(elsewhere)).stand, {
        host: "0.0.0.0",
        port: 9099,
        publicUrl: "https://sim.example/x"
      })
    }))

  const wrong: ReadonlyArray<Partial<RaceInput>> = [
    { callers: Option.some(0) },
    { connections: Option.some(101) },
    { connections: Option.some(6) },
    { url: ["https://vault.example"], connections: Option.some(100), callers: Option.some(51) },
    { rounds: Option.some(21) },
    { listen: Option.some("9099") },
    { listen: Option.some("127.0.0.1:65536") },
    { listen: Option.some("0.0.0.0:9099") },
    { publicUrl: Option.some("ftp://sim.example") },
    { publicUrl: Option.some("https://sim.example/?a=b") },
    { url: ["http://vault.example"] },
    { url: ["https://user@vault.example"] }
  ]
  it.effect("are refused where they make no race", () =>
    Effect.forEach(wrong, (change) =>
      Effect.map(
        Effect.flip(settingsOf({ ...usual, ...change })),
        ({ code }) => assert.strictEqual(code, "usage", JSON.stringify(change))
      )))

  it("go with --race", () => {
    assert.isFalse(isStray({ ...usual, race: false }))
    assert.isTrue(isStray({ ...usual, race: false, rounds: Option.some(2) }))
    assert.isTrue(isStray({ ...usual, race: false, url: ["https://vault.example"] }))
    assert.isFalse(isStray({ ...usual, rounds: Option.some(2) }))
  })
})
