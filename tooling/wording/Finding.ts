/** A committed file as the wording checks see it. */
export interface Text {
  readonly path: string
  readonly content: string
}

/** One line that should read otherwise. */
export interface Finding {
  readonly check: string
  readonly where: string
  readonly message: string
}

/** The findings of a pattern, one for each line it matches. */
export const matches = (
  text: Text,
  check: string,
  pattern: RegExp,
  message: (found: string) => string
): ReadonlyArray<Finding> =>
  text.content.split("\n").flatMap((line, index) => {
    const found = pattern.exec(line)
    return found === null ? [] : [{ check, where: `${text.path}:${index + 1}`, message: message(found[0]) }]
  })
