// Asking the server, and saying in plain words why it refused.

const KEY = "fmalloc-key";

const key = () => sessionStorage.getItem(KEY);
export const useKey = (key) => sessionStorage.setItem(KEY, key);

// `seconds`: after which the server may be asked again.
export class Refusal extends Error {
  constructor(status, said, seconds = 1) {
    super(plain(status, said || `status ${status}`, seconds));
    this.status = status;
    this.seconds = seconds;
  }
}

function plain(status, said, seconds) {
  switch (status) {
    case 0: return "The server cannot be reached. Check the connection and try again.";
    case 403: return key() ? "The server does not know this API key." : "This server asks for an API key.";
    case 429: case 529: return `The server takes no more at the moment. Try again in ${seconds} second${seconds > 1 ? "s" : ""}.`;
  }
  return `The server ${status < 500 ? "cannot take this" : "cannot answer at the moment"}: ${said}.`;
}

// `body`: a form, or what becomes JSON.
async function answered(path, body, signal) {
  const isForm = body instanceof FormData;
  const headers = body && !isForm ? { "Content-Type": "application/json" } : {};
  if (key()) headers.Authorization = `Bearer ${key()}`;
  const response = await fetch(path, { method: body ? "POST" : "GET", headers, body: isForm ? body : body && JSON.stringify(body), signal })
    .catch(() => { throw new Refusal(0); });
  if (response.ok) return response;
  const content = await response.json().catch(() => null);
  throw new Refusal(response.status, content?.error || content?.message, Number(response.headers.get("Retry-After")) || 1);
}

export async function ask(path, body, signal) {
  const response = await answered(path, body, signal);
  const content = await response.json().catch(() => null);
  if (content) return content;
  throw new Refusal(response.status);
}

export async function download(path, body) {
  const response = await answered(path, body);
  return response.blob().catch(() => { throw new Refusal(0); });
}
