import { assert, describe, it } from "@effect/vitest"
import { endingOf, forecastOf, type Foreseen } from "@valetkey/domain/Forecast"
import { refreshTermsOf, Span, spanOf } from "@valetkey/domain/RefreshTerms"
import { Sealed } from "@valetkey/domain/Sealed"
import { DateTime, Duration, Schema } from "effect"
import fc from "fast-check"

const day = (days: number) => DateTime.makeUnsafe(Duration.toMillis(Duration.days(days)))

const active = (change: Partial<Foreseen["credentials"]> = {}): Foreseen => ({
  status: { _tag: "active" },
  grantedAt: day(0),
  credentials: {
    accessToken: Sealed.make(new Uint8Array()),
    refreshToken: Sealed.make(new Uint8Array()),
    tokenType: "Bearer",
    issuedAt: day(10),
    ...change
  }
})

describe("a forecast", () => {
  it("REF-21 names the idle date of what the provider said or the operator described, whichever comes first", () => {
    const terms = refreshTermsOf({ refreshTokenIdleLimit: "30 days" })
    assert.deepStrictEqual(forecastOf(active(), refreshTermsOf({})), {})
    assert.deepStrictEqual(forecastOf(active(), terms), { idlesOutAt: day(40) })
    assert.deepStrictEqual(forecastOf(active({ refreshExpiresAt: day(24) }), terms), { idlesOutAt: day(24) })
    assert.deepStrictEqual(forecastOf(active({ refreshExpiresAt: day(60) }), terms), { idlesOutAt: day(40) })
  })

  it("REF-21 counts the lifetime of a grant from the consent, whatever was refreshed since", () => {
    const terms = refreshTermsOf({ refreshTokenLifetime: "1 year" })
    assert.deepStrictEqual(forecastOf(active(), terms), { endsAt: day(365) })
    assert.deepStrictEqual(forecastOf({ ...active(), grantedAt: undefined }, terms), {})
  })

  it("REF-21 forgets a date that a refresh outlived, and has none for what cannot be refreshed or needs consent", () => {
    const terms = refreshTermsOf({ refreshTokenIdleLimit: "30 days", refreshTokenLifetime: "5 days" })
    assert.deepStrictEqual(forecastOf(active({ refreshExpiresAt: day(9) }), terms), { idlesOutAt: day(40) })
    const { credentials: { refreshToken: _, ...credentials }, ...rest } = active()
    assert.deepStrictEqual(forecastOf({ ...rest, credentials }, terms), {})
    const lost = { _tag: "needs_reauth", reason: "refresh_token_rejected" } as const
    assert.deepStrictEqual(forecastOf({ ...active(), status: lost }, terms), {})
  })

  it("REF-21 tells the end that comes first, a tenth of its time before it and a week at most", () => {
    const idle = refreshTermsOf({ refreshTokenIdleLimit: "30 days" })
    assert.isUndefined(endingOf(active(), refreshTermsOf({})))
    assert.deepStrictEqual(endingOf(active(), idle), { cause: "idle", at: day(40), tellAt: day(37) })
    const both = refreshTermsOf({ refreshTokenIdleLimit: "30 days", refreshTokenLifetime: "20 days" })
    assert.deepStrictEqual(endingOf(active(), both), { cause: "lifetime", at: day(20), tellAt: day(18) })
    const year = refreshTermsOf({ refreshTokenLifetime: "1 year" })
    assert.deepStrictEqual(endingOf(active(), year), { cause: "lifetime", at: day(365), tellAt: day(358) })
  })
})

describe("a span", () => {
  it("REF-21 is a number of minutes, hours, days or years up to ten years, and no other text", () => {
    const isSpan = Schema.is(Span)
    const millis = { minute: 60_000, hour: 3_600_000, day: 86_400_000, year: 31_536_000_000 }
    fc.assert(fc.property(
      fc.nat({ max: 9_999_999 }),
      fc.constantFrom("minute", "hour", "day", "year"),
      fc.constantFrom("", " "),
      fc.constantFrom("", "s"),
      (count, unit, space, plural) => {
        const wanted = count * millis[unit]
        const span = spanOf(`${count}${space}${unit}${plural}`)
        assert.strictEqual(
          span && Duration.toMillis(span),
          wanted > 0 && wanted <= 10 * millis.year ? wanted : undefined
        )
      }
    ))
    for (
      const text of ["", "60", "60d", "1.5 days", "-1 day", "01 days", "60  days", " 60 days", "60 weeks", "1e3 days"]
    ) {
      assert.isFalse(isSpan(text), text)
    }
  })
})
