// @ts-check
// The token of a gateway that asks for one. It comes behind the page's address, as #token=…, where
// no server and no log sees it, is kept for this tab, and is taken off the address at once.

const KEY = "token";

/** @returns {string | null} */
export function readToken() {
  const given = new URLSearchParams(location.hash.slice(1)).get(KEY);
  try {
    if (given) {
      sessionStorage.setItem(KEY, given);
      history.replaceState(null, "", location.pathname + location.search);
    }
    return given ?? sessionStorage.getItem(KEY);
  } catch {
    return given;
  }
}

/**
 * What a WebSocket says to be let in: a browser cannot give it headers.
 * @param {string | null} token
 * @returns {string[]}
 */
export function subprotocols(token) {
  return token ? ["gateway.v1", `bearer.${token}`] : [];
}

/**
 * What a request says to be let in.
 * @param {string | null} token
 * @returns {Record<string, string>}
 */
export function authorization(token) {
  return token ? { Authorization: `Bearer ${token}` } : {};
}
