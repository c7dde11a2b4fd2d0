import { english as flow } from "@valetkey/domain/FlowTexts"

/** The pages in English: the shape of every other language. Braces hold what a page puts in. */
export const english = {
  /** States, failures, and the language's tag and direction. */
  flow,
  /** The page that says who connects what to whom, and what may come in its place. */
  connect: {
    title: "Connect {server}",
    asks:
      "{whose} asks for access to your account at {resource}. Go on only if that is you, and you started this yourself.",
    /** A subject of a tenant. */
    whose: "{subject} of {tenant}",
    server: "Connect to",
    owner: "The connection will belong to",
    provider: "You sign in at",
    scopes: "It may then use",
    noScopes: "what the provider grants by itself",
    back: "You come back to",
    unknownHost: "unknown",
    code: "The program that you started shows this code:",
    otherCode:
      "If it shows another one, or if you started nothing, close this page: somebody may be after your account.",
    go: "Continue to {provider}",
    leaving: "One moment",
    gone: "Not known",
    goneText: "This link is not valid, or its time is over. Start again in the program that gave it to you.",
    taken: "Opened elsewhere",
    takenText:
      "This link was used in another browser, and works there alone. If that was not you, cancel in the program and start again.",
    refused: "Not sent from here",
    refusedText:
      "The browser did not say that it comes from this page, or keeps no cookies. Nothing was changed: allow cookies, open the link again and go on from there.",
    notNow: "Not now",
    notNowText:
      "The connection could not be begun right now. Open the link again in a moment; if it repeats, start again."
  },
  /** Where a browser arrives when it comes back. */
  arrival: {
    stray: "Not an answer",
    strayText:
      "This request does not belong to a connection that is being made in this browser. Nothing was changed. If you are connecting something, begin and finish in the same browser, with cookies allowed.",
    unknown: "Not known",
    unknownText: "There is nothing to show here.",
    notNow: "Not now",
    notNowText: "The answer could not be taken right now. Reload this page in a moment; if it repeats, start again."
  }
}
