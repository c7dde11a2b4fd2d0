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
  },
  /** The pages where a person sees their own connections. */
  console: {
    signIn: "Sign in",
    signInText:
      "You asked for a way into the console of Valetkey in this browser. Whoever goes on from here acts as {whose}.",
    signInCode: "The program that gave you the link shows this code:",
    signInOther:
      "If it shows another one, or if you asked for nothing, close this page: somebody may want you to act for them.",
    signInGo: "Sign in as {whose}",
    gone: "Not known",
    goneText: "This link is not valid, or its time is over. Ask for a new one where you got it: valetkey console.",
    taken: "Used already",
    takenText:
      "This link has let a browser in, and lets in no other. If that was not you, tell whoever runs this server; ask for a new link to go on.",
    signedOut: "Not signed in",
    signedOutText:
      "Nobody is signed in in this browser, or the time is over. Ask for a link with valetkey console, or in the application that you came from.",
    refused: "Not sent from here",
    refusedText:
      "The browser did not say that it comes from this page, or the page is older than your session. Nothing was changed: go back, reload the page and try again.",
    noCookieText:
      "The browser sent none of the cookies of these pages back, and without one it cannot be let in. Nothing was changed, and the link is still good. Allow cookies. Safari keeps none for pages over http, even on its own machine: open the link in another browser, or have the server reached over https.",
    forbidden: "Not allowed",
    failed: "That did not work",
    notNow: "Not now",
    notNowText: "This could not be shown right now. Reload the page in a moment.",
    title: "Your connections",
    whose: "{subject} of {tenant}",
    signedInAs: "Signed in as {whose}.",
    signOut: "Sign out",
    signedOutDone: "Signed out",
    signedOutDoneText: "This browser is signed out. You can close this window.",
    none: "Nothing is connected yet.",
    more: "More",
    back: "All connections",
    known: "You can connect",
    connect: "Connect {server}",
    connectText: "You will be asked at the provider of {server} for access, and come back when you have decided.",
    reconnect: "Connect {server} again",
    reconnectText:
      "You will be asked at the provider of {server} again. What is connected now stays until you have agreed.",
    started: "Almost there",
    startedCode: "The next page must show this code:",
    startedGo: "Go on",
    disconnect: "Disconnect {server}",
    disconnectText:
      "From then on no program gets a token for {server}, and the provider is told to end the grant. This cannot be undone: to use it again, connect again.",
    disconnectGo: "Disconnect",
    status: "State",
    active: "works",
    needs_reauth: "needs you to sign in again",
    revoking: "disconnected",
    quarantined: "taken out of use by whoever runs this server",
    reason: "Why",
    expires: "Access token until",
    noEnd: "has no end",
    scopes: "May use",
    noScopes: "what the provider granted by itself",
    idlesOut: "Idles out",
    idlesOutText: "{time}, unless it is renewed before",
    signInBefore: "Sign in again before",
    lastUsed: "Last used",
    lastUsedText: "{time}, to within a minute",
    neverUsed: "no use is on record",
    account: "Account",
    provider: "Provider",
    since: "Since",
    history: "What happened",
    earlier: "Earlier",
    noHistory: "Nothing is on record.",
    generation: "generation {generation}",
    fingerprint: "secret {fingerprint}",
    answer: "the provider said {answer}",
    by: "by {principal}",
    reasons: {
      refresh_token_rejected: "The provider refused the refresh token.",
      unknown_outcome: "The provider's answer to a refresh was lost, so nobody knows whether the token is still good.",
      no_refresh_token: "The provider gave no refresh token.",
      restored_credentials: "The stored token comes from a backup and was used since.",
      account_changed: "Another account was used at the provider.",
      refresh_token_idled_out: "The connection was not used for longer than the provider lets one lie.",
      grant_expired: "The provider ends every grant after some time, and that time was over."
    },
    principals: {
      jwt: "a signed token",
      api_key: "an API key",
      local: "the owner of this machine",
      console: "this console",
      system: "the server itself"
    },
    events: {
      flow_started: "A sign-in was begun",
      flow_completed: "You signed in, and the connection was stored",
      flow_ended: "A sign-in ended without a connection",
      grant_left:
        "The tokens of another account were dropped; its grant was left alone, since its client is a shared one",
      token_refreshed: "The token was renewed",
      refresh_refused: "The provider refused to renew the token",
      refresh_misconfigured: "The provider refused the client, not you",
      refresh_later: "The provider could not renew the token at that time",
      refresh_unknown: "The provider's answer was lost",
      ends_idle: "The connection idles out soon; it could not be renewed so far",
      ends_lifetime: "The provider ends this grant soon; sign in again before that",
      needs_consent: "From here on you had to sign in again",
      account_replaced: "Another account took the place of the one before",
      deposited: "Credentials were stored by a program",
      disconnected: "The connection was ended",
      exported: "The credentials were exported",
      forgotten: "The connection was forgotten here; the grant was left alone",
      revoked: "The provider was told to end the grant",
      rolled_back: "The stored record went back in time",
      other: "{action}"
    }
  }
}
