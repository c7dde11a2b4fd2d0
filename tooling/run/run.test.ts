import { assert, describe, it } from "@effect/vitest"
import { line, read, readTurbo, readVitest, sum } from "./Tally.ts"

const report = (file: { status: string; tests: ReadonlyArray<string> }) =>
  JSON.stringify({
    numPassedTests: file.tests.filter((status) => status === "passed").length,
    numFailedTests: file.tests.filter((status) => status === "failed").length,
    testResults: [{ status: file.status, assertionResults: file.tests.map((status) => ({ status })) }]
  })

describe("run", () => {
  it("adds tallies up to one line", () => {
    assert.strictEqual(line(sum([{ passed: 2, failed: 0 }, { passed: 3, failed: 1 }])), "5 passed, 1 failed")
  })

  it("believes the last line of a program unless its exit code says otherwise", () => {
    assert.deepStrictEqual(read("1 passed, 1 failed\nmore\n7 passed, 0 failed\n", 0), { passed: 7, failed: 0 })
    assert.deepStrictEqual(read("demo: 13 steps passed, 1 failed\n", 1), { passed: 13, failed: 1 })
    assert.deepStrictEqual(read("7 passed, 0 failed\n", 1), { passed: 7, failed: 1 })
    assert.deepStrictEqual(read("demo: 12 steps passed, 1 failed\n", 1), { passed: 12, failed: 1 })
    assert.deepStrictEqual(read("done\n", 0), { passed: 1, failed: 0 })
    assert.deepStrictEqual(read("", 1), { passed: 0, failed: 1 })
  })

  it("counts a test file that cannot be loaded and an error outside every test", () => {
    assert.deepStrictEqual(readVitest(report({ status: "failed", tests: [] }), 1), { passed: 0, failed: 1 })
    assert.deepStrictEqual(readVitest(report({ status: "failed", tests: ["passed", "failed"] }), 1), {
      passed: 1,
      failed: 1
    })
    assert.deepStrictEqual(readVitest(report({ status: "passed", tests: ["passed"] }), 1), { passed: 1, failed: 1 })
    assert.deepStrictEqual(readVitest(report({ status: "passed", tests: ["passed"] }), 0), { passed: 1, failed: 0 })
  })

  it("takes a task that never ran for a failure", () => {
    const tasks = readTurbo(JSON.stringify({
      tasks: [
        { task: "types", cache: { status: "MISS" }, execution: { startTime: 0, endTime: 1500, exitCode: 0 } },
        { task: "lint", cache: { status: "MISS" } }
      ]
    }))
    assert.deepStrictEqual(tasks, [
      { name: "types", passed: true, cached: false, seconds: 1.5 },
      { name: "lint", passed: false, cached: false, seconds: 0 }
    ])
  })
})
