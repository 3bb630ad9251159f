#pragma once

namespace medsam_edge {

/// "0.2.0, OpenVINO 2026.4.1": this library's version and the one of OpenVINO that it runs on.
const char* version();

}  // namespace medsam_edge
