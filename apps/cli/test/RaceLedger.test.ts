import { assert, describe, it } from "@effect/vitest"
import { Redacted } from "effect"
import { RaceLedger } from "../src/RaceLedger.ts"

const opened = () => {
  const ledger = new RaceLedger()
  const grant = ledger.open()
  return { ledger, grant, first: Redacted.value(grant.refreshToken) }
}

describe("the ledger of a race", () => {
  it("rotates: each refresh token is good once and brings the next", () => {
    const { first, grant, ledger } = opened()
    let token = first
    for (let at = 0; at < 5; at++) {
      const issued = ledger.redeem(token, 4, at * 4000)
      assert.isDefined(issued)
      assert.isTrue(grant.admits(issued!.accessToken, at * 4000 + 3999))
      assert.isFalse(grant.admits(issued!.accessToken, at * 4000 + 4000))
      token = issued!.refreshToken
    }
    assert.deepStrictEqual(grant.record, { asked: 5, redeemed: 5, needless: 0, reused: 0, revoked: false })
  })

  it("revokes a grant whose spent token comes back, with its present tokens, and no other grant", () => {
    const { first, grant, ledger } = opened()
    const other = ledger.open()
    const issued = ledger.redeem(first, 4, 0)!
    assert.isUndefined(ledger.redeem(first, 4, 1))
    assert.isFalse(grant.admits(issued.accessToken, 2))
    assert.isUndefined(ledger.redeem(issued.refreshToken, 4, 4000))
    assert.deepStrictEqual(grant.record, { asked: 3, redeemed: 1, needless: 0, reused: 1, revoked: true })
    assert.isDefined(ledger.redeem(Redacted.value(other.refreshToken), 4, 0))
    assert.isUndefined(ledger.redeem("nobody's", 4, 0))
  })

  it("counts a redemption that replaced a young token which nobody refused", () => {
    const { first, grant, ledger } = opened()
    const one = ledger.redeem(first, 4, 0)!
    const two = ledger.redeem(one.refreshToken, 4, 499)!
    assert.strictEqual(grant.record.needless, 1)
    grant.refuse()
    assert.isFalse(grant.admits(two.accessToken, 1000))
    const three = ledger.redeem(two.refreshToken, 4, 1000)!
    assert.isDefined(ledger.redeem(three.refreshToken, 4, 1500))
    assert.strictEqual(grant.record.needless, 1)
  })

  it("tells when the last token that the resource takes has ended", () => {
    const { first, grant, ledger } = opened()
    assert.strictEqual(grant.endsAt, 0)
    const one = ledger.redeem(first, 3600, 1000)!
    ledger.redeem(one.refreshToken, 4, 3000)
    assert.strictEqual(grant.endsAt, 1000 + 3600 * 1000)
    grant.refuse()
    assert.strictEqual(grant.endsAt, 0)
  })
})
