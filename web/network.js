// @ts-check
// What the browser tells of its network. Many changes it does not tell: then the path says so, later.

/** @typedef {EventTarget & {type?: string}} NetworkInformation not in every browser */

/** @param {() => void} then what to do when the machine is on another network, or on one again */
export function onNetworkChange(then) {
  addEventListener("online", then);
  const { connection } = /** @type {{connection?: NetworkInformation}} */ (navigator);
  let type = connection?.type;
  connection?.addEventListener("change", () => {
    // It also tells of each new estimate of the speed, which is no change.
    if (connection.type !== type) then();
    type = connection.type;
  });
}
