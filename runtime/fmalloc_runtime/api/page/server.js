// Asking the server, and saying in plain words why it refused.

const KEY = "fmalloc-key";

const key = () => sessionStorage.getItem(KEY);
export const useKey = (key) => sessionStorage.setItem(KEY, key);

// `seconds`: after which the server may be asked again.
export class Refusal extends Error {
  constructor(status, said, seconds) {
    super(plain(status, said || `status ${status}`, seconds));
    this.status = status;
  }
}

function plain(status, said, seconds) {
  switch (status) {
    case 0: return "The server cannot be reached. Check the connection and try again.";
    case 403: return key() ? "The server does not know this API key." : "This server asks for an API key.";
    case 429: return `The server takes no more at the moment. Try again in ${seconds} second${seconds > 1 ? "s" : ""}.`;
  }
  return `The server ${status < 500 ? "cannot take this" : "cannot answer at the moment"}: ${said}.`;
}

export async function ask(path, body, signal) {
  const headers = body ? { "Content-Type": "application/json" } : {};
  if (key()) headers.Authorization = `Bearer ${key()}`;
  let response, content;
  try {
    response = await fetch(path, { method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body), signal });
    content = await response.json().catch(() => null);
  } catch {
    throw new Refusal(0);
  }
  if (response.ok && content) return content;
  throw new Refusal(response.status, content?.error, Number(response.headers.get("Retry-After")) || 1);
}
