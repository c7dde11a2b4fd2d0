import { assert, describe, it } from "@effect/vitest"
import { linesOf } from "../src/Lines.ts"

const collect = async (chunks: ReadonlyArray<Uint8Array>): Promise<ReadonlyArray<string>> => {
  async function* input() {
    yield* chunks
  }
  const lines: Array<string> = []
  for await (const line of linesOf(input())) lines.push(line)
  return lines
}

describe("lines", () => {
  it("are the same wherever the stream is cut, and end at a line feed alone", async () => {
    const text = Buffer.from("ä\r\n\n{\"a\":\"\u2028 \u{1F600}\"}\nlast")
    const whole = ["ä\r", "", "{\"a\":\"\u2028 \u{1F600}\"}", "last"]
    for (let one = 0; one <= text.length; one++) {
      for (let two = one; two <= text.length; two++) {
        const chunks = [text.subarray(0, one), text.subarray(one, two), text.subarray(two)]
        assert.deepStrictEqual(await collect(chunks), whole, `${one} ${two}`)
      }
    }
  })

  it("that are longer than any message are not kept, and the next one is read", async () => {
    const piece = Buffer.alloc(16 * 1024 * 1024, "x")
    const lines = await collect([piece, piece, piece, piece, piece, Buffer.from("\nnext\n")])
    assert.deepStrictEqual(lines, ["\0", "next"])
  })
})
