/** Codes of errors that may come of what is done to a link, in whichever folder's words. */

/** Of connections that are closed. */
export const BROKEN =
  /\/(link-broken|peer-closed|channel-broken|connect-failed|closed|commit-unacknowledged|truncated)$/;
/** Of silence, which ends in closed connections. */
export const SILENT =
  /\/(peer-silent|link-broken|peer-closed|channel-broken|connect-failed|closed|commit-unacknowledged|truncated)$/;
/** Of a control message that is not as it was sent, or comes twice: what it carries may tell, as a device's stream does. */
export const DAMAGED =
  /\/(malformed-message|migrationDamaged|not-a-stream|peer-version|unexpected-message|message-too-large|commit-unacknowledged)$/;
/** Of bytes on a data channel that are not as they were sent. */
export const DATA_DAMAGED =
  /\/(bad-frame|bad-hello|peer-version|truncated|integrity-mismatch|round-incomplete|channel-broken|peer-closed|connect-failed)$/;
