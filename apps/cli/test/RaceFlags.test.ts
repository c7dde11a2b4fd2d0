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
    { callers: Option.some(1) },
    { connections: Option.some(101) },
    { connections: Option.some(6) },
    { url: ["https://vault.example"], connections: Option.some(100), callers: Option.some(51) },
    { rounds: Option.some(21) },
    { listen: Option.some("9099") },
    { listen: Option.some("127.0.0.1:65536") },
    { listen: Option.some("0.0.0.0:9099") },
    { publicUrl: Option.some("https://sim.example") },
    { listen: Option.some("0.0.0.0:0"), publicUrl: Option.some("https://sim.example") },
    ...["ftp://sim.example", "https://sim.example/?a=b", "https://user@sim.example", "https://:word@sim.example"].map((
      url
    ) => ({
      listen: Option.some("0.0.0.0:9099"),
      publicUrl: Option.some(url)
    })),
    { url: ["http://vault.example"] },
    { url: ["https://user@vault.example"] }
  ]
  it.effect("are refused where they make no race", () =>
    Effect.forEach(wrong, (change) =>
      Effect.map(
        Effect.flip(settingsOf({ ...usual, ...change })),
        ({ code }) => assert.strictEqual(code, "usage", JSON.stringify(change))
      )))

  it.effect("name each server once, however it is spelled, and have it asked", () =>
    Effect.gen(function*() {
      const given = process.env["VALETKEY_TOKEN"]
      process.env["VALETKEY_TOKEN"] = "any"
      yield* Effect.addFinalizer(() =>
        Effect.sync(() =>
          given === undefined ? delete process.env["VALETKEY_TOKEN"] : process.env["VALETKEY_TOKEN"] = given
        )
      )
      const url = ["https://a.example", "https://a.example/", "HTTPS://A.example:443", "https://b.example"]
      const { targets } = yield* settingsOf({ ...usual, url, callers: Option.some(2) })
      assert.deepStrictEqual(targets.map((target) => target.url), ["https://a.example", "https://b.example"])
      const more = { ...usual, url: [...url, "https://c.example"], callers: Option.some(2) }
      const told = yield* Effect.flip(settingsOf(more))
      assert.include(told.message, "--callers must be no fewer")
    }))

  it("go with --race", () => {
    assert.isFalse(isStray({ ...usual, race: false }))
    assert.isTrue(isStray({ ...usual, race: false, rounds: Option.some(2) }))
    assert.isTrue(isStray({ ...usual, race: false, url: ["https://vault.example"] }))
    assert.isFalse(isStray({ ...usual, rounds: Option.some(2) }))
  })
})
