import { assert, it } from "@effect/vitest"
import * as Domain from "@valetkey/domain"

it("S1.38 exports words, ports and use cases, and nothing that only a test would call", () => {
  const names = Object.entries(Domain).flatMap(([module, members]) => [module, ...Object.keys(members)])
  assert.includeMembers(names, ["Flows", "AccessTokens", "FlowStore", "ConnectionStore", "Cipher"])
  assert.deepStrictEqual(names.filter((name) => /reset|awaitSettled|forTest|internal|mock|fake/i.test(name)), [])
})
