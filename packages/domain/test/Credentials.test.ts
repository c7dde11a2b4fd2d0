import { assert, describe, it } from "@effect/vitest"
import { coversScopes, isFresh, mergeRefreshed, notYet, parseScopes } from "@valetkey/domain/Credentials"
import { DateTime, Duration, Redacted } from "effect"
import fc from "fast-check"

const at = (seconds: number) => DateTime.makeUnsafe(seconds * 1000)

describe("scopes", () => {
  it("S1.36 S1.37 are split on white space, and an empty list is left out", () => {
    assert.deepStrictEqual(parseScopes(" a  b\t\nc "), ["a", "b", "c"])
    assert.isUndefined(parseScopes(""))
    assert.isUndefined(parseScopes(" "))
  })

  it("cover a wish only when each wanted one is granted", () => {
    assert.isTrue(coversScopes(["a", "b"], ["b"]))
    assert.isFalse(coversScopes(["a"], ["a", "b"]))
    assert.isFalse(coversScopes(undefined, ["a"]))
    assert.isTrue(coversScopes(undefined, []))
  })
})

describe("mergeRefreshed", () => {
  const previous = {
    refreshToken: Redacted.make("rt-1"),
    tokenType: "Bearer",
    scopes: ["a"],
    issuedAt: at(0),
    expiresAt: at(600)
  }

  it("keeps refresh token, scopes and lifetime that the answer leaves out", () => {
    const merged = mergeRefreshed(previous, {
      accessToken: Redacted.make("at-2"),
      tokenType: "Bearer",
      issuedAt: at(1000)
    })
    assert.strictEqual(Redacted.value(merged.refreshToken!), "rt-1")
    assert.deepStrictEqual(merged.scopes, ["a"])
    assert.deepStrictEqual(merged.expiresAt, at(1600))
  })

  it("takes what the answer brings", () => {
    const merged = mergeRefreshed(previous, {
      accessToken: Redacted.make("at-2"),
      refreshToken: Redacted.make("rt-2"),
      scopes: ["b"],
      tokenType: "Bearer",
      issuedAt: at(1000),
      expiresAt: at(1010)
    })
    assert.strictEqual(Redacted.value(merged.refreshToken!), "rt-2")
    assert.deepStrictEqual([merged.scopes, merged.expiresAt], [["b"], at(1010)])
  })

  it("REF-21 keeps the end of a refresh token that stays, until it is outlived, and repeats the time of one that changes", () => {
    const ends = (refreshToken: string | undefined, issuedAt: number, refreshExpiresAt?: number) =>
      mergeRefreshed({ ...previous, refreshExpiresAt: at(9000) }, {
        accessToken: Redacted.make("at-2"),
        tokenType: "Bearer",
        issuedAt: at(issuedAt),
        ...(refreshToken === undefined ? {} : { refreshToken: Redacted.make(refreshToken) }),
        ...(refreshExpiresAt === undefined ? {} : { refreshExpiresAt: at(refreshExpiresAt) })
      }).refreshExpiresAt
    assert.deepStrictEqual(ends(undefined, 1000), at(9000))
    assert.deepStrictEqual(ends("rt-1", 1000), at(9000))
    assert.isUndefined(ends("rt-1", 9000))
    assert.deepStrictEqual(ends("rt-2", 1000), at(10_000))
    assert.deepStrictEqual(ends("rt-2", 1000, 1500), at(1500))
    assert.deepStrictEqual(ends(undefined, 1000, 1500), at(1500))
  })

  it("repeats no life that was none", () => {
    for (const end of [notYet, at(5), at(10)]) {
      const merged = mergeRefreshed({ ...previous, issuedAt: at(10), expiresAt: end, refreshExpiresAt: end }, {
        accessToken: Redacted.make("at-2"),
        refreshToken: Redacted.make("rt-2"),
        tokenType: "Bearer",
        issuedAt: at(1000)
      })
      assert.deepStrictEqual(
        [merged.expiresAt, merged.refreshExpiresAt],
        [undefined, undefined],
        DateTime.formatIso(end)
      )
    }
  })
})

describe("isFresh", () => {
  it("I6 gives a token at least the smaller of the demand and half its lifetime", () => {
    fc.assert(fc.property(
      fc.integer({ min: 1, max: 400 * 86_400 }),
      fc.integer({ min: 0, max: 400 * 86_400 }),
      fc.integer({ min: 0, max: 7200 }),
      (lifetime, age, demand) => {
        const left = lifetime - age
        const fresh = isFresh({ issuedAt: at(0), expiresAt: at(lifetime) }, Duration.seconds(demand), at(age))
        assert.strictEqual(fresh, left > 0 && left >= Math.min(demand, lifetime / 2))
      }
    ))
  })

  it("trusts a token without expiry until it is rejected", () => {
    assert.isTrue(isFresh({ issuedAt: at(0) }, Duration.hours(1), at(1_000_000)))
  })
})
