// Calendar months in UTC, as texts such as "2026-11", and the file with a month's numbers.

export const presentMonth = () => new Date().toISOString().slice(0, 7);
export const monthBefore = (month) => shifted(month, -1);
export const monthAfter = (month) => shifted(month, 1);

function shifted(month, by) {
  const [year, number] = month.split("-").map(Number);
  return new Date(Date.UTC(year, number - 1 + by, 1)).toISOString().slice(0, 7);
}

/** Return the dates of a month, such as "2026-11-01". */
export function daysOf(month) {
  const [year, number] = month.split("-").map(Number);
  const length = new Date(Date.UTC(year, number, 0)).getUTCDate();
  return Array.from({ length }, (_, place) => `${month}-${String(place + 1).padStart(2, "0")}`);
}

/** Return the days of a month as comma-separated values, money as exact texts. */
export function csvOf(usage) {
  const head = "date,settled_usd,held_usd,videos_settled,videos_held";
  const lines = usage.byDay.map(({ date, settled, held, videosSettled, videosHeld }) =>
    [date, settled, held, videosSettled, videosHeld].join(","));
  return `${[head, ...lines].join("\r\n")}\r\n`;
}
