/** The longest line that is read. What is longer comes out as one that means nothing. */
const longest = 64 * 1024 * 1024

/** Lines of a stream of bytes, ended by a line feed; the next chunk is read when the last line was taken. */
export async function* linesOf(input: AsyncIterable<Uint8Array | string>): AsyncGenerator<string, undefined> {
  let held: Array<Buffer> = []
  let size = 0
  const take = (end: Buffer): string => {
    const line = size + end.length > longest ? "\0" : Buffer.concat([...held, end]).toString("utf8")
    held = []
    size = 0
    return line
  }
  for await (const piece of input) {
    const chunk = Buffer.from(piece as Uint8Array)
    let from = 0
    for (let end = chunk.indexOf(10); end !== -1; end = chunk.indexOf(10, from)) {
      yield take(chunk.subarray(from, end))
      from = end + 1
    }
    const rest = chunk.subarray(from)
    size += rest.length
    if (size <= longest && rest.length > 0) held.push(rest)
  }
  if (size > 0) yield take(Buffer.alloc(0))
  return undefined
}
