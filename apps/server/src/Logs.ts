import * as Redaction from "@valetkey/http/Redaction"
import { Effect, Layer, Logger, References } from "effect"
import type { Settings } from "./Settings.ts"

/** Layer of the log on stderr, one line an entry, and of what no span or entry may hold. */
export const layer = (settings: Pick<Settings, "logFormat" | "logLevel">): Layer.Layer<never> =>
  Layer.mergeAll(
    Layer.effectDiscard(Effect.sync(surviveFullDisk)),
    Logger.layer([
      Logger.make((options) => {
        const format = settings.logFormat === "json" ? Logger.formatJson : Logger.formatLogFmt
        process.stderr.write(`${oneLine(scrub(format.log(options)))}\n`)
      })
    ]),
    Layer.succeed(References.MinimumLogLevel, settings.logLevel),
    Redaction.layer
  )

/** A log whose disk is full or whose reader is gone costs its lines; unheard, its error would cost the process. */
const surviveFullDisk = (): void => {
  if (!process.stderr.listeners("error").includes(ignore)) process.stderr.on("error", ignore)
}

const ignore = (): void => {}

/** Escapes what a terminal or a reader of lines could take for the end of one; the formats escape the ASCII ones. */
export const oneLine = (line: string): string =>
  line.replace(/[\p{Cc}\u2028\u2029]/gu, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`)

/**
 * Blanks what looks like a secret. Secrets are `Redacted` where they are made; this is for the causes that other
 * people's code throws.
 */
export const scrub = (line: string): string =>
  patterns.reduce((text, [pattern, blank]) => text.replace(pattern, blank), line)

const patterns: ReadonlyArray<readonly [RegExp, string]> = [
  [/\beyJ[\w-]{8,}\.[\w-]+\.[\w-]*/g, "<redacted>"],
  [/\b(gh[pousr]_|xox[abps]-|sk-|glpat-)[\w-]{8,}/g, "<redacted>"],
  [/\b(Bearer|Basic|DPoP)\s+[\w.~+/=-]{8,}/gi, "$1 <redacted>"],
  [/\b(postgres(?:ql)?:\/\/[^:@\s/"]*):[^@\s"]*@/g, "$1:<redacted>@"],
  [
    /\b(access_token|refresh_token|id_token|client_secret|code_verifier|code|state|password|token)(["\\]*\s*[:=]\s*["\\]*)[\w.~+/%-]{8,}/gi,
    "$1$2<redacted>"
  ]
]
