import { Context, Effect, Layer } from "effect"

/** The two ways out: stdout is data, stderr is talk. */
export class Output extends Context.Service<Output, {
  /** Whether stdout carries exactly one JSON document. */
  readonly json: boolean
  /** Whether somebody watches stderr. */
  readonly watched: boolean
  /** Ends the command's data: the document in JSON mode, else the text. */
  result(document: Readonly<Record<string, unknown>>, text: string): Effect.Effect<void>
  /** Data in the middle of the work; nothing in JSON mode. */
  data(text: string): Effect.Effect<void>
  /** A line for the person. */
  say(text: string): Effect.Effect<void>
  /** Replaces the current line of a watched terminal. */
  status(text: string): Effect.Effect<void>
}>()("@valetkey/cli/Output") {
  /** Layer over the streams of the process. */
  static readonly layer = (options: { readonly json: boolean }): Layer.Layer<Output> =>
    Layer.sync(Output, () => {
      // A reader that left early is not our failure.
      process.stdout.on("error", () => {})
      process.stderr.on("error", () => {})
      let open = false
      const watched = process.stderr.isTTY === true && process.env["TERM"] !== "dumb"
      const clear = () => open ? "\r\u001b[2K" : ""
      return Output.of({
        json: options.json,
        watched,
        result: (document, text) =>
          write(process.stdout, options.json ? `${JSON.stringify(document)}\n` : text === "" ? "" : `${text}\n`),
        data: (text) => options.json ? Effect.void : write(process.stdout, `${text}\n`),
        say: (text) =>
          Effect.suspend(() => {
            const line = `${clear()}${text}\n`
            open = false
            return write(process.stderr, line)
          }),
        status: (text) =>
          Effect.suspend(() => {
            if (!watched) return Effect.void
            const line = `${clear()}${text}`
            open = text !== ""
            return write(process.stderr, line)
          })
      })
    })
}

/** Text of somebody else without anything that a terminal obeys: control characters, escapes, direction marks. */
export const plain = (text: string): string => text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, "")

/** Rows in columns, two spaces apart. */
export const table = (rows: ReadonlyArray<ReadonlyArray<string>>): string => {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)))
  return rows.map((row) => row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join("  ").trimEnd()).join("\n")
}

const write = (stream: NodeJS.WriteStream, text: string): Effect.Effect<void> =>
  text === "" ? Effect.void : Effect.callback((resume) => {
    stream.write(text, () => resume(Effect.void))
  })
