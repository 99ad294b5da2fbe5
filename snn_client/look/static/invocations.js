// placeholder
export function showInvocations(content) { content.textContent = "…"; }
