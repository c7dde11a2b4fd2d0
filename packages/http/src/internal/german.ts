import { german as flow } from "@valetkey/domain/FlowTexts"
import type { PageTexts } from "../PageTexts.ts"

/** The pages in German. */
export const german: PageTexts = {
  flow,
  connect: {
    title: "{server} verbinden",
    asks:
      "{whose} möchte auf Ihr Konto bei {resource} zugreifen. Fahren Sie nur fort, wenn das Sie sind und Sie das selbst begonnen haben.",
    whose: "{subject} von {tenant}",
    server: "Verbinden mit",
    owner: "Die Verbindung wird gehören",
    provider: "Sie melden sich an bei",
    scopes: "Damit darf genutzt werden",
    noScopes: "was der Anbieter von sich aus gewährt",
    back: "Sie kommen zurück zu",
    unknownHost: "unbekannt",
    code: "Das Programm, das Sie gestartet haben, zeigt diesen Code:",
    otherCode:
      "Zeigt es einen anderen oder haben Sie nichts begonnen, schließen Sie diese Seite: Jemand könnte es auf Ihr Konto abgesehen haben.",
    go: "Weiter zu {provider}",
    leaving: "Einen Moment",
    gone: "Unbekannt",
    goneText:
      "Dieser Link ist ungültig oder seine Zeit ist vorbei. Beginnen Sie von vorn in dem Programm, von dem Sie ihn haben.",
    taken: "Anderswo geöffnet",
    takenText:
      "Dieser Link wurde in einem anderen Browser benutzt und gilt nur dort. Waren das nicht Sie, brechen Sie im Programm ab und beginnen Sie von vorn.",
    refused: "Nicht von hier gesendet",
    refusedText:
      "Der Browser hat nicht gesagt, dass er von dieser Seite kommt, oder er behält keine Cookies. Es wurde nichts geändert: Erlauben Sie Cookies, öffnen Sie den Link noch einmal und gehen Sie von dort aus weiter.",
    notNow: "Jetzt nicht",
    notNowText:
      "Die Verbindung konnte gerade nicht begonnen werden. Öffnen Sie den Link gleich noch einmal; wiederholt es sich, beginnen Sie von vorn."
  },
  arrival: {
    stray: "Keine Antwort",
    strayText:
      "Diese Anfrage gehört zu keiner Verbindung, die in diesem Browser hergestellt wird. Es wurde nichts geändert. Wenn Sie etwas verbinden, beginnen und beenden Sie es im selben Browser und erlauben Sie Cookies.",
    unknown: "Unbekannt",
    unknownText: "Hier gibt es nichts zu sehen.",
    notNow: "Jetzt nicht",
    notNowText:
      "Die Antwort konnte gerade nicht angenommen werden. Laden Sie diese Seite gleich neu; wiederholt es sich, beginnen Sie von vorn."
  }
}
