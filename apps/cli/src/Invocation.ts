import type * as CliError from "effect/cli/CliError"

/**
 * What is wrong with a command line, in sentences that quote nothing of it: what stands in the wrong place may be an
 * address with a code in it, or a token.
 */
export const explain = (errors: ReadonlyArray<CliError.CliError>, command: ReadonlyArray<string>): string =>
  [...new Set(errors.map((error) => sentenceOf(error, command)))].join(". ")

const sentenceOf = (error: CliError.CliError, command: ReadonlyArray<string>): string => {
  switch (error._tag) {
    case "UnrecognizedOption":
      return `${isWord(error.option) ? `Unknown flag ${error.option}` : "Unknown flag"}${meant(error.suggestions)}`
    case "UnknownSubcommand":
      return `${command.join(" ")} has no such command${meant(error.suggestions)}`
    case "UnexpectedArgument":
      // The one command where the argument too many is a secret, whoever typed it.
      return command.at(-1) === "callback"
        ? "The address comes by stdin, never as an argument"
        : "There is an argument too many"
    case "MissingOption":
      return `--${error.option} is missing`
    case "MissingArgument":
      return `The argument ${error.argument} is missing`
    case "InvalidValue": {
      const what = error.kind === "flag" ? `--${error.option}` : `The argument ${error.option}`
      return `${what} ${error.value === "" ? "needs a value" : "is not what it takes"}${expectation(error)}`
    }
    case "DuplicateOption":
    case "ShowHelp":
    case "UserError":
    case "ValidationError":
      return "This is no command line of valetkey"
  }
}

/** Whether a flag that nobody knows is a flag misspelt; a secret that begins with a dash is none. */
const isWord = (option: string): boolean => /^--[a-z]{1,16}(-[a-z]{1,16}){0,3}$/.test(option)

const meant = (suggestions: ReadonlyArray<string>): string =>
  suggestions.length === 0 ? "" : `; did you mean ${suggestions.join(" or ")}?`

/** What is expected, unless the value is told along with it. */
const expectation = ({ expected, value }: CliError.InvalidValue): string => {
  const told = expected.replace(/^expected:? /i, "")
  return value !== "" && told.includes(value) ? "" : `: expected ${told}`
}
