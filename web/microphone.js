// @ts-check
// The person's own sound.

/** Whether a page from here may have a microphone at all: HTTPS or localhost. */
export function mayUseMicrophone() {
  return isSecureContext && navigator.mediaDevices !== undefined;
}

/**
 * Ask for the microphone.
 * @param {boolean} processing echo cancellation, noise suppression and gain control: all or none.
 *     They are made for speech; a measured tone comes through unharmed only without them.
 * @returns {Promise<MediaStream>} rejects as getUserMedia does
 */
export function openMicrophone(processing) {
  return navigator.mediaDevices.getUserMedia({
    audio: {
      echoCancellation: processing,
      noiseSuppression: processing,
      autoGainControl: processing,
    },
  });
}

/**
 * Give it back; the browser's recording sign goes out.
 * @param {MediaStream | null} stream
 */
export function closeMicrophone(stream) {
  for (const track of stream?.getTracks() ?? []) track.stop();
}
